"""The thin FastAPI door: what the API serves it does not compute. No torch, no transformers, no numpy."""
