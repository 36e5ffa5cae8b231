"""Shared data types: components, prompt pairs, experiment specs, results and refusals.

Plain data, immutable and bounded. Nothing here imports more than pydantic, so every other package may import it.
"""
