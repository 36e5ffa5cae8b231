"""Prompt sets: drawn from templates, typed, uploaded or published, and split by operands."""
