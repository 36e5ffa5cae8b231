"""How the files of attention patterns are called: those that come with a result, and those that are added later."""

WITH_RESULT = "attention.safetensors"


def attention_name(prompt: int) -> str:
    """One prompt's patterns, added later."""
    return f"attention.{prompt}.safetensors"


def problem_name(prompt: int) -> str:
    """Why one prompt's patterns could not be added, as problem JSON."""
    return f"attention.{prompt}.problem.json"
