"""Prompts as text: questions, numbers, templates, stories and counterfactuals."""
