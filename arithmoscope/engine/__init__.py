"""Exact effects of attention heads and MLPs, on PyTorch models. Imports no server and no store."""
