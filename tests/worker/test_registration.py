"""The list of models follows the folders: added, removed and changed ones while a worker runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from arithmoscope_worker.config import WorkerConfig
from arithmoscope_worker.registration import GONE, ModelRegistrar, register_models
from store_helpers import Valkey, spec_of  # pyright: ignore[reportMissingImports]
from worker_trees import Tree, wait_until

from arithmoscope.contracts.models import ChatFrame
from arithmoscope.engine.models.catalogue import Catalogue
from arithmoscope.store import Store

CONFIG = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2, "num_attention_heads": 4}


def put(models_dir: Path, name: str, tokenizer: str = "{}") -> Path:
    """Writes a model folder that the catalogue lists, with one weight."""
    folder = models_dir / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "tokenizer.json").write_text(tokenizer)
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    return folder


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def registrar(store: Store, models_dir: Path) -> ModelRegistrar:
    registrar = ModelRegistrar(store, Catalogue(models_dir))
    registrar.refresh()
    return registrar


def looks(registrar: ModelRegistrar) -> None:
    registrar.poll()
    registrar.poll()


def test_a_folder_that_is_copied_in_is_registered_once_it_lies_still(
    store: Store, models_dir: Path, registrar: ModelRegistrar
) -> None:
    folder = put(models_dir, "new")
    registrar.poll()
    (folder / "model.safetensors").write_bytes(b"half of it, for now")
    registrar.poll()
    assert "new" not in [card.id for card in store.models()]
    shutil.rmtree(folder)
    put(models_dir, "new")
    looks(registrar)
    assert store.model("new").supported
    assert store.tokenizer_json("new") == "{}"


def test_a_model_without_its_folder_has_a_reason_and_comes_back_with_it(
    store: Store, models_dir: Path, registrar: ModelRegistrar
) -> None:
    folder = put(models_dir, "mine")
    looks(registrar)
    shutil.rmtree(folder)
    looks(registrar)
    gone = store.model("mine")
    assert (gone.supported, gone.reason) == (False, GONE)
    put(models_dir, "mine")
    looks(registrar)
    assert store.model("mine").supported
    assert store.tokenizer_json("mine") == "{}"


def test_a_changed_tokenizer_is_registered_again(store: Store, models_dir: Path, registrar: ModelRegistrar) -> None:
    folder = put(models_dir, "mine")
    looks(registrar)
    (folder / "tokenizer.json").write_text('{"changed": true}')
    looks(registrar)
    assert store.tokenizer_json("mine") == '{"changed": true}'


def test_what_a_chat_template_writes_is_registered_and_follows_its_file(
    store: Store, models_dir: Path, registrar: ModelRegistrar
) -> None:
    folder = put(models_dir, "mine")
    looks(registrar)
    assert (store.model("mine").chat, store.chat("mine")) == (False, None)
    template = folder / "chat_template.jinja"
    template.write_text("{% for m in messages %}{{ eos_token }}{{ m.role }}: {{ m.content }}\n{% endfor %}")
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    looks(registrar)
    frame = store.chat("mine")
    assert isinstance(frame, ChatFrame)
    assert (store.model("mine").chat, frame.before, frame.after) == (True, "</s>user: ", "\n</s>assistant: ")
    template.write_text("{{ raise_exception('not today') }}")
    looks(registrar)
    chat = store.chat("mine")
    assert isinstance(chat, str)
    assert "not today" in chat
    assert store.model("mine").chat, "it has one: its error is shown on request"


def test_a_template_is_not_rendered_again_while_it_stays_the_same(
    store: Store, models_dir: Path, registrar: ModelRegistrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    (put(models_dir, "mine") / "chat_template.jinja").write_text("{{ raise_exception('no') }}")
    looks(registrar)
    monkeypatch.setattr("subprocess.run", lambda *_args, **_options: pytest.fail("it was rendered again"))
    put(models_dir, "other")
    looks(registrar)
    assert store.model("other").supported


def test_nothing_is_read_or_written_while_no_folder_changes(
    store: Store, models_dir: Path, registrar: ModelRegistrar, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(models_dir, "mine")
    looks(registrar)
    monkeypatch.setattr(Catalogue, "cards", lambda _self: pytest.fail("the folders were read again"))
    looks(registrar)


def test_a_worker_without_a_folder_leaves_what_another_worker_registered(
    store: Store, models_dir: Path, tmp_path: Path, registrar: ModelRegistrar
) -> None:
    put(models_dir, "mine")
    looks(registrar)
    other = Catalogue(tmp_path / "nothing")
    register_models(store, other)
    assert store.model("mine").supported
    register_models(store, other, alone=True)
    assert store.model("mine").reason == GONE
    looks(registrar)
    assert store.model("mine").supported, "it is here after all"


def test_a_tuned_model_stays_when_folders_come_and_go(store: Store, models_dir: Path) -> None:
    put(models_dir, "mine")
    register_models(store, Catalogue(models_dir), alone=True)
    experiment_id = store.submit(spec_of(model="mine"), key="k")[0].id
    claim = store.claim(experiment_id, 1, owner="w", lease_s=60)
    assert claim is not None
    base = store.model("mine")
    card_fields = {
        "id": "plus",
        "source": "tuned",
        "base": "mine",
        "base_revision": base.revision,
        "experiment": experiment_id,
    }
    card = base.model_copy(update=card_fields)
    store.succeed(claim, {"deltas.safetensors": b""}, tuned=card)
    put(models_dir, "plus", tokenizer='{"of": "a folder of that name"}')
    register_models(store, Catalogue(models_dir), alone=True)
    assert store.model("plus") == card
    assert store.tokenizer_json("plus") == "{}"
    shutil.rmtree(models_dir / "mine")
    register_models(store, Catalogue(models_dir), alone=True)
    assert not store.model("plus").supported
    assert GONE in str(store.model("plus").reason)
    put(models_dir, "mine")
    register_models(store, Catalogue(models_dir), alone=True)
    assert store.model("plus") == card


def test_a_running_worker_notices_a_folder_within_moments(
    store: Store, urls: tuple[str, str], models_dir: Path, broker_of_all: Valkey, tmp_path: Path
) -> None:
    config = WorkerConfig(
        redis_url=broker_of_all.url, database_url=urls[0], artifacts_url=urls[1], models_dir=models_dir, name="w"
    )
    with Tree(config, tmp_path / "log") as tree:
        wait_until(lambda: bool(store.workers()), "no worker")
        folder = put(models_dir, "new")
        wait_until(lambda: "new" in [card.id for card in store.models()], "the model is not listed", 10)
        shutil.rmtree(folder)
        wait_until(lambda: store.model("new").reason == GONE, "the model is still listed", 10)
        assert tree.stop() == 0


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_file_that_is_nested_without_end_stops_no_worker(
    store: Store, models_dir: Path, registrar: ModelRegistrar, name: str
) -> None:
    (put(models_dir, "deep") / name).write_text('{"chat_template":' * 100_000)
    put(models_dir, "other")
    looks(registrar)
    assert (store.chat("deep"), store.model("other").supported) == (None, True)
