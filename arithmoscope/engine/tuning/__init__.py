"""Fine-tuning of chosen components, and the baselines to compare it with; start at `fine_tune`."""
