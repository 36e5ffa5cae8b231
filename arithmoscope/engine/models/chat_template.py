"""A model's chat template as a frame: what it writes before, between and after the turns of a conversation.

The template is rendered once, around marks in the place of what people say: no prompt ever passes through it. It is
foreign code and runs in a process of its own (`chat_template_renderer`). Models that think before they answer are told
not to, where their template has the usual switch for it. No torch is needed here.
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

MAX_TEMPLATE_CHARACTERS = 100_000
_RENDERER = Path(__file__).with_name("chat_renderer.py")
# The renderer stops itself after two seconds of its own time; this is for a machine that gives it none.
_PATIENCE_S = 60
# Stand for what a person and the assistant say in turn.
_SAID = tuple(f"\ue000{turn}\ue001" for turn in ("q1", "r1", "q2", "r2", "q3", "r3"))
_HALF_A_CHARACTER = re.compile("[\ud800-\udfff]")
_TOKENS = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token")


def frame_of_folder(folder: Path) -> ChatFrame:
    """The frame of a model's folder. Refuses ``no_chat_template`` and ``bad_chat_template``."""
    template, tokens = _in_folder(folder)
    return _frame(template, tokens, folder.name)


def has_template(folder: Path) -> bool:
    """Whether a folder brings a chat template along, usable or not."""
    return _in_folder(folder)[0] is not None


def frame_of_tokenizer(tokenizer: Any, name: str) -> ChatFrame:
    """The frame of a transformers tokenizer, of the model ``name``. Refuses as `frame_of_folder`."""
    special = getattr(tokenizer, "special_tokens_map", None) or {}
    return _frame(_default(getattr(tokenizer, "chat_template", None)), _spelled(special), name)


def _in_folder(folder: Path) -> tuple[str | None, dict[str, str]]:
    """The template and the special tokens of a folder, looked for where transformers looks."""
    said = {**_read_json(folder / "special_tokens_map.json"), **_read_json(folder / "tokenizer_config.json")}
    try:
        template = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, ValueError):
        template = _default(said.get("chat_template"))
    return template, _spelled(said)


def _default(template: Any) -> str | None:
    """One template, or the one called default among several."""
    if isinstance(template, list):
        template = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
    if isinstance(template, Mapping):
        template = template.get("default")
    return template if isinstance(template, str) and template.strip() else None


def _spelled(said: Mapping[str, Any]) -> dict[str, str]:
    """Special tokens as texts; a file may describe one in more words."""
    found: dict[str, str] = {}
    for name in _TOKENS:
        token = said.get(name)
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            found[name] = str(token)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _frame(template: str | None, tokens: Mapping[str, str], name: str) -> ChatFrame:
    if template is None:
        raise Refusal("no_chat_template", f"{name} has no chat template.")
    frame = _rendered(template, tuple(sorted(tokens.items())))
    if isinstance(frame, str):
        raise Refusal("bad_chat_template", f"The chat template of {name} cannot be used: {frame}.")
    return frame


@lru_cache(maxsize=64)
def _rendered(template: str, tokens: tuple[tuple[str, str], ...]) -> ChatFrame | str:
    """The frame, or in words why there is none."""
    if len(template) > MAX_TEMPLATE_CHARACTERS:
        return f"it is longer than {MAX_TEMPLATE_CHARACTERS} characters"
    always = {**dict(tokens), "tools": None, "documents": None, "enable_thinking": False}
    asked = [_asked(always, turns) for turns in (5, 6, 1)]
    opened, answered, single = _texts(template, asked)
    for each in (opened, single):
        if "error" in each:
            return _HALF_A_CHARACTER.sub("\ufffd", each["error"])
    parts, alone = _between(opened["text"], _SAID[:5]), _between(single["text"], _SAID[:1])
    if parts is None or alone is None:
        return "it does not write every turn once, as it was said"
    before, reply, next_, reply_again, next_again, after = parts
    if [before, after] != alone or (reply, next_) != (reply_again, next_again):
        return "it does not write every turn in the same way"
    # As it writes a reply of the past: it may have no generation prompt, or put a space between.
    past = _between(answered.get("text", ""), _SAID)
    if past and past[:5] == parts[:5] and past[5].startswith(after):
        after = past[5]
    if any(_HALF_A_CHARACTER.search(part) for part in parts):
        return "it writes half a character"
    if max(map(len, parts)) > MAX_CHAT_CHARACTERS:
        return f"it writes more than {MAX_CHAT_CHARACTERS} characters"
    return ChatFrame(before=before, reply=reply, next=next_, after=after)


def _asked(always: Mapping[str, Any], turns: int) -> dict[str, Any]:
    """The variables of a conversation so long; after a person's turn it is the assistant's."""
    roles = ("user", "assistant") * 3
    messages = [{"role": roles[turn], "content": _SAID[turn]} for turn in range(turns)]
    return {**always, "messages": messages, "add_generation_prompt": turns % 2 == 1}


def _between(text: str, said: Sequence[str]) -> list[str] | None:
    """What stands before, between and after some turns; None unless each is there once, in this order."""
    parts: list[str] = []
    for turn in said:
        part, found, text = text.partition(turn)
        parts.append(part)
        if not found:
            return None
    parts.append(text)
    return None if any(turn in part for turn in said for part in parts) else parts


def _texts(template: str, chats: list[dict[str, Any]]) -> list[dict[str, str]]:
    """What the template writes for each chat, or the error that it ends in."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_RENDERER)],
            input=json.dumps({"template": template, "chats": chats}),
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [{"error": "it does not come to an end"}] * len(chats)
    if done.returncode < 0:
        return [{"error": "it takes too much time or memory"}] * len(chats)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
        return [{"error": f"its renderer failed ({said})"}] * len(chats)
    return json.loads(done.stdout)
