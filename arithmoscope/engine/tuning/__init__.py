"""Fine-tuning of chosen components, and of others to hold it against. The door is `engine.fine_tune`."""
