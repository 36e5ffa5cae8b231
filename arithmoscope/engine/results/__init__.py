"""Finished experiments as data that leaves the engine: wire results and the files stored with them."""
