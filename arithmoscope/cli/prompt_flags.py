"""Flags of a prompt set: a typed question, a file of prompt pairs, or a set drawn from templates."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections.abc import Iterable, Mapping
from typing import IO, Any

from arithmoscope.cli.prompt_options import possible_template_prompts, read_pairs_file, refuse_bad_prompt
from arithmoscope.cli.spec_flags import add_fields, given, validated
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts, PromptsSpec, TemplatePrompts

_TEMPLATE = tuple(name for name in TemplatePrompts.model_fields if name != "source")
_SHARED = tuple(name for name in CustomPrompts.model_fields if name in _TEMPLATE and name != "pairs")
# Options of the default set that fit other topics, too.
_ANY_TOPIC = ("pairs", "shots", "seed", "chat", "keep_wrong", "corruption")


def prefixes_for(spec_fields: Iterable[str]) -> dict[str, str]:
    """Prefixes of the prompts' flags whose names are fields of the spec, too, such as ``--prompts-seed``."""
    return dict.fromkeys((name for name in _TEMPLATE if name in set(spec_fields)), "prompts_")


def add_prompts(parser: ArgumentParser, prefixes: Mapping[str, str] = {}, *, typed: bool = True) -> None:
    """Adds the flags. ``typed``: a question may stand on the command line itself."""
    group = parser.add_argument_group("prompts", "one question, a file of prompts, or a set drawn from templates")
    if typed:
        group.add_argument("prompt", nargs="?", help='a calculation such as "3 + 5 ="; if left out, a set of prompts')
    group.add_argument("--file", metavar="FILE", help="use your own prompts: CSV or JSON lines")
    add_fields(group, TemplatePrompts, _TEMPLATE, prefixes=prefixes)  # pyright: ignore[reportArgumentType]


def prompts_of(
    args: Namespace,
    command: str,
    progress: IO[str],
    prefixes: Mapping[str, str] = {},
    *,
    default: TemplatePrompts,
) -> PromptsSpec:
    """The prompt set of the flags. Flags of a set that are not given are those of ``default``.

    Raises Refusal if there is no such set.
    """
    typed: str | None = getattr(args, "prompt", None)
    file: str | None = args.file
    options = given(args, _TEMPLATE, prefixes=prefixes)
    if typed is None and file is None:
        return possible_template_prompts(_merged(default, options))
    if typed is not None and file is not None:
        raise Refusal("bad_request", "Both a prompt and a file of prompts are given.", "Give one of them.")
    unused = next((name for name in options if name not in _SHARED), None)
    if unused is not None:
        raise Refusal(
            "bad_request",
            f"--{(prefixes.get(unused, '') + unused).replace('_', '-')} is for a set drawn from templates.",
            f"Leave it out, or the {'prompt' if typed is not None else 'file'}.",
        )
    if typed is not None:
        refuse_bad_prompt(typed)
        pairs: tuple[CustomPair, ...] = (CustomPair(reference=typed),)
    else:
        pairs = read_pairs_file(file or "", progress)
    # Kept pairs need no second parse of ten thousand rows: the other options are checked alone.
    checked = validated(CustomPrompts, {"source": "custom", "pairs": pairs[:1], **options}, command)
    return checked.model_copy(update={"pairs": pairs})


def _merged(default: TemplatePrompts, options: Mapping[str, Any]) -> dict[str, Any]:
    base = default.model_dump(exclude_unset=True, exclude={"source"})
    if options.get("topic", default.topic) != default.topic:
        base = {name: value for name, value in base.items() if name in _ANY_TOPIC}
    return {**base, **options}
