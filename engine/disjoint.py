"""Sets that share no operands, for notebooks: the rules are `prompts.disjoint`'s."""

from prompts.disjoint import operands_of, shared_operands, split_operands

__all__ = ["operands_of", "shared_operands", "split_operands"]
