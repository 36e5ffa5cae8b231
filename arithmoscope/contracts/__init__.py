"""The shared words: what a component, a prompt pair, an experiment, a result and a refusal are.

Everything here is plain data, immutable and bounded, and imports nothing but pydantic: every other room may
read it.
"""
