"""Tests of what ``arithmoscope analyze`` reads from a GGUF file before the model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from arithmoscope.cli.analyze import Options, _refuse_unreadable, _spec
from arithmoscope.contracts.errors import Refusal
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.engine.models.folders import DEMO_ID


def test_a_gguf_file_with_a_tokenizer_beside_it_is_not_asked_for_a_folders_chat_template(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"<unk>": 0, "8": 1}, "<unk>")).save(str(tmp_path / "tokenizer.json"))
    card = Catalogue(tmp_path).card(DEMO_ID)
    spec = _spec("3 + 5 =", "small.gguf", Options("direct", "end", "counterfactual", "noising"), 0, chat=True)
    _refuse_unreadable(spec, ModelLocation(str(tmp_path), "small.gguf", card))
    with pytest.raises(Refusal) as refused:
        _refuse_unreadable(spec, ModelLocation(str(tmp_path), None, card))
    assert refused.value.code == "no_chat_template"
