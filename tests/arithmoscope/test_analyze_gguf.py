"""Tests of what a command reads from a GGUF file before the model is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from arithmoscope.cli.local_run import check
from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.kinds.path_patching import PathPatchingSpec
from arithmoscope.contracts.prompts import CustomPair, CustomPrompts
from arithmoscope.engine.models.catalogue import Catalogue, ModelLocation
from arithmoscope.engine.models.folders import DEMO_ID
from arithmoscope.settings import Settings


def test_a_gguf_file_with_a_tokenizer_beside_it_is_not_asked_for_a_folders_chat_template(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"<unk>": 0, "8": 1}, "<unk>")).save(str(tmp_path / "tokenizer.json"))
    card = Catalogue(tmp_path).card(DEMO_ID)
    pairs = (CustomPair(reference="3 + 5 ="),)
    prompts = CustomPrompts(source="custom", pairs=pairs, shots=0, chat=True)
    spec = PathPatchingSpec(kind="path_patching", model="small.gguf", prompts=prompts)
    check(Settings(), ModelLocation(str(tmp_path), "small.gguf", card), spec)
    with pytest.raises(Refusal) as refused:
        check(Settings(), ModelLocation(str(tmp_path), None, card), spec)
    assert refused.value.code == "no_chat_template"
