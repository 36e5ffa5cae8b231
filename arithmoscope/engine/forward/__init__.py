"""Forward passes: batching, hooks, cached runs, activations and attention at the last position, logits."""
