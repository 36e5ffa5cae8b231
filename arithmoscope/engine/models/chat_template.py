"""A model's chat template as a frame: the text before, between and after the turns of a conversation.

The template is rendered once, around placeholders for the turns: no prompt ever passes through it. It is untrusted code
and runs in a separate process (`chat_template_renderer`). Thinking is switched off where the template has the usual
variable for it (``enable_thinking``). Needs no torch.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.models import MAX_CHAT_CHARACTERS, ChatFrame
from arithmoscope.engine.models.folders import read_json

MAX_TEMPLATE_CHARACTERS = 100_000
_RENDERER = Path(__file__).with_name("chat_template_renderer.py")
# The renderer stops itself after two seconds of CPU time; this is for a machine too busy to give it any.
_TIMEOUT_S = 60
# Placeholders for the turns of user and assistant.
_TURNS = tuple(f"\ue000{turn}\ue001" for turn in ("q1", "r1", "q2", "r2", "q3", "r3"))
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


def frame_of_folder(folder: Path) -> ChatFrame:
    """The frame of a model folder's template.

    Raises:
        Refusal: ``no_chat_template`` or ``bad_chat_template``.
    """
    template, tokens = _read_folder(folder)
    return _frame(template, tokens, folder.name)


def has_template(folder: Path) -> bool:
    """True if a folder has a chat template, usable or not."""
    return _read_folder(folder)[0] is not None


def frame_of_tokenizer(tokenizer: Any, name: str) -> ChatFrame:
    """The frame of a transformers tokenizer's template; ``name`` is the model's name in messages. Raises like
    `frame_of_folder`."""
    special = getattr(tokenizer, "special_tokens_map", None) or {}
    return _frame(_default_template(getattr(tokenizer, "chat_template", None)), _special_tokens(special), name)


def _read_folder(folder: Path) -> tuple[str | None, dict[str, str]]:
    """A folder's template and special tokens, read from the files that transformers reads."""
    config = {**read_json(folder / "special_tokens_map.json"), **read_json(folder / "tokenizer_config.json")}
    try:
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        template = _default_template(config.get("chat_template"))
    return template, _special_tokens(config)


def _default_template(template: Any) -> str | None:
    """A single template, or the one named default among several."""
    if isinstance(template, list):
        template = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
    if isinstance(template, Mapping):
        template = template.get("default")
    return template if isinstance(template, str) and template.strip() else None


def _special_tokens(config: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens as strings; a file may give one as an object with ``content``."""
    tokens: dict[str, str] = {}
    for name in _TOKENS:
        token = config.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            tokens[name] = str(token)
    return tokens


def _frame(template: str | None, tokens: Mapping[str, str], name: str) -> ChatFrame:
    if template is None:
        raise Refusal("no_chat_template", f"{name} has no chat template.")
    frame = _frame_or_reason(template, tuple(sorted(tokens.items())))
    if isinstance(frame, str):
        raise Refusal("bad_chat_template", f"The chat template of {name} cannot be used: {frame}.")
    return frame


@lru_cache(maxsize=64)
def _frame_or_reason(template: str, tokens: tuple[tuple[str, str], ...]) -> ChatFrame | str:
    """The frame of a template, or the reason why it has none."""
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        return f"it is longer than {MAX_TEMPLATE_CHARACTERS} characters"
    variables = {**dict(tokens), "tools": None, "documents": None, "enable_thinking": False}
    chats = [_chat(variables, turns) for turns in (5, 6, 1)]
    five, six, one = _render(template, chats)
    for rendered in (five, one):
        if "error" in rendered:
            return _LONE_SURROGATE.sub("\ufffd", rendered["error"])
    parts, one_parts = _split(five["text"], _TURNS[:5]), _split(one["text"], _TURNS[:1])
    if parts is None or one_parts is None:
        return "it does not write every turn once and unchanged"
    before, reply, next_, reply_again, next_again, after = parts
    if [before, after] != one_parts or (reply, next_) != (reply_again, next_again):
        return "it does not write every turn in the same way"
    # Before a past reply the template may write more than its generation prompt: all of it, or a space after it.
    past = _split(six.get("text", ""), _TURNS)
    if past and past[:5] == parts[:5] and past[5].startswith(after):
        after = past[5]
    if any(_LONE_SURROGATE.search(part) for part in parts):
        return "it writes half a character (a lone surrogate)"
    if max(map(len, parts)) > MAX_CHAT_CHARACTERS:
        return f"it writes more than {MAX_CHAT_CHARACTERS} characters"
    return ChatFrame(before=before, reply=reply, next=next_, after=after)


def _chat(variables: Mapping[str, Any], turns: int) -> dict[str, Any]:
    """The template's variables for a conversation of ``turns`` turns, with a generation prompt after a user's turn."""
    roles = ("user", "assistant") * 3
    messages = [{"role": roles[turn], "content": _TURNS[turn]} for turn in range(turns)]
    return {**variables, "messages": messages, "add_generation_prompt": turns % 2 == 1}


def _split(text: str, turns: Sequence[str]) -> list[str] | None:
    """The text before, between and after the turns; None unless each occurs exactly once, in this order."""
    parts: list[str] = []
    for turn in turns:
        part, separator, text = text.partition(turn)
        parts.append(part)
        if not separator:
            return None
    parts.append(text)
    return None if any(turn in part for turn in turns for part in parts) else parts


def _render(template: str, chats: list[dict[str, Any]]) -> list[dict[str, str]]:
    """For each chat ``{"text": ...}``, or ``{"error": ...}`` if rendering fails."""
    try:
        process = subprocess.run(
            [sys.executable, "-P", str(_RENDERER)],
            input=json.dumps({"template": template, "chats": chats}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [{"error": "it does not finish rendering"}] * len(chats)
    if process.returncode < 0:
        return [{"error": "it takes too much time or memory"}] * len(chats)
    if process.returncode:
        message = (process.stderr.strip().splitlines() or ["no error message"])[-1][:200]
        return [{"error": f"its renderer failed ({message})"}] * len(chats)
    return json.loads(process.stdout)
