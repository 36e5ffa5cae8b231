"""Prompts as tokens: tokenisation, chat layout, roles, and the position of the answer."""
