"""Interventions on a run: patching, ablation, edge patching and knocked-out generation, with the code they share."""
