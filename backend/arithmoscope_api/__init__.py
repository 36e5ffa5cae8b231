"""HTTP API (FastAPI) over the store. It computes no results and loads no torch, transformers or numpy."""
