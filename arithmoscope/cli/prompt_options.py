"""Checks and reading of the prompts of a command."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import MAX_PROMPT_CHARACTERS, CustomPair, CustomPrompts, TemplatePrompts

# Unusable rows of a file that are reported one by one.
_REPORTED_ROWS = 15
_FORMATS = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def refuse_bad_prompt(prompt: str) -> None:
    """Raises Refusal on an empty or too long prompt, and on text that is not UTF-8."""
    if not prompt.strip():
        raise Refusal("empty_prompt", "The prompt is empty.")
    if any("\ud800" <= character <= "\udfff" for character in prompt):
        raise Refusal("bad_request", "The prompt is not text in UTF-8.", "Type it again.")
    if len(prompt) > MAX_PROMPT_CHARACTERS:
        raise Refusal("prompt_too_long", f"The prompt has more than {MAX_PROMPT_CHARACTERS} characters.")


def possible_template_prompts(options: dict[str, Any]) -> TemplatePrompts:
    """The template set with these options. Raises Refusal, before a model is loaded, if there is no such set."""
    from arithmoscope.prompts.sets.prompt_sets import template_prompts
    from arithmoscope.prompts.sets.topics import refuse_impossible_set

    prompts = template_prompts(options)
    refuse_impossible_set(prompts)
    return prompts


def read_pairs_file(file: str, progress: IO[str]) -> tuple[CustomPair, ...]:
    """The usable rows of a CSV or JSON lines file; unusable ones are reported on ``progress``."""
    from arithmoscope.prompts.sets.uploads import read_upload

    format_: Any = _FORMATS.get(Path(file).suffix.lower())
    if format_ is None:
        raise Refusal("bad_setting", f"--file {file} is neither CSV nor JSON lines.", "Name it .csv or .jsonl.")
    upload = read_upload(read_input_file(file), format_)
    for problem in upload.problems[:_REPORTED_ROWS]:
        progress.write(f"row {problem.row}: {problem.reason}\n")
    if len(upload.problems) > _REPORTED_ROWS:
        progress.write(f"and {len(upload.problems) - _REPORTED_ROWS} more unusable rows\n")
    if not upload.pairs:
        raise Refusal("no_prompts", f"No row of {file} can be used.", "Correct the rows reported above.")
    return upload.pairs


def read_input_file(file: str) -> bytes:
    """The content of the file that ``--file`` names. Raises Refusal (``bad_setting``) if it cannot be read."""
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise Refusal(
            "bad_setting", f"--file {file} cannot be read: {error.strerror}.", "Choose another file."
        ) from error


def half_of(prompts: CustomPrompts, half: str) -> CustomPrompts:
    """The pairs of a file whose operands fall in this half. Raises Refusal (``no_prompts``) if there are none."""
    from arithmoscope.prompts.language.question_operands import operand_key
    from arithmoscope.prompts.sets.operand_split import on_first_side_of

    first = half == "first"
    pairs = tuple(pair for pair in prompts.pairs if on_first_side_of(operand_key(pair.reference)) == first)
    if not pairs:
        raise Refusal(
            "no_prompts", f"No prompt falls in the {half} half of the operands.", "Use more prompts, or no --held-out."
        )
    return prompts.model_copy(update={"pairs": pairs})
