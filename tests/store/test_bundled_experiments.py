"""Tests of the bundled example."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from store_helpers import spec_of

from arithmoscope.contracts.errors import Refusal
from arithmoscope.contracts.experiments import Experiment
from arithmoscope.contracts.kinds.path_patching import PathPatchingResult
from arithmoscope.store import EXAMPLE_ID, Store
from arithmoscope.store.rows import spec_of as stored_spec_of

SHIPPED = Path(__file__).parents[2] / "arithmoscope" / "example"
LATER = ("positions", "source", "direction")


@pytest.fixture
def bundle(store: Store, tmp_path: Path) -> Path:
    """A finished experiment in the form of the shipped example."""
    experiment, _ = store.submit(spec_of(), key="k")
    claim = store.claim(experiment.id, 1, owner="w", lease_s=60)
    assert claim is not None
    store.succeed(claim, {})
    folder = tmp_path / "bundle"
    folder.mkdir()
    (folder / "experiment.json").write_text(store.experiment(experiment.id).model_dump_json())
    (folder / "result.json").write_bytes(b"{}")
    (folder / "components.logit.csv").write_bytes(b"rank\n")
    store.delete(experiment.id)
    return folder


def test_an_imported_bundle_is_the_example_with_its_artifacts(store: Store, bundle: Path) -> None:
    imported = store.import_bundle(bundle)
    exported = Experiment.model_validate_json((bundle / "experiment.json").read_bytes())
    assert imported == exported.model_copy(update={"id": EXAMPLE_ID})
    assert store.experiment("example") == imported
    assert store.artifact_names("example") == ("components.logit.csv", "result.json")
    assert store.read_artifact("example", "components.logit.csv") == b"rank\n"


def test_the_example_is_not_listed_and_never_answers_a_submit(store: Store, bundle: Path) -> None:
    store.import_bundle(bundle)
    assert store.experiments().items == ()
    experiment, is_new = store.submit(spec_of(), key="k")
    assert is_new
    assert experiment.id != EXAMPLE_ID


def test_importing_again_changes_nothing_and_a_new_bundle_replaces(store: Store, bundle: Path) -> None:
    first = store.import_bundle(bundle)
    assert store.import_bundle(bundle) == first
    (bundle / "result.json").write_bytes(b'{"new": true}')
    (bundle / "components.logit.csv").unlink()
    store.import_bundle(bundle)
    assert store.artifact_names("example") == ("result.json",)
    assert store.read_artifact("example", "result.json") == b'{"new": true}'


def test_what_was_computed_of_the_example_stays_until_there_is_another_bundle(store: Store, bundle: Path) -> None:
    store.import_bundle(bundle)
    views = ("view.key.json", "view.roles.problem.json", "attention.7.safetensors", "attention.8.problem.json")
    for name in views:
        store.put_artifact(EXAMPLE_ID, name, name.encode())
    store.import_bundle(bundle)
    assert all(store.read_artifact(EXAMPLE_ID, name) == name.encode() for name in views)
    (bundle / "result.json").write_bytes(b'{"new": true}')
    store.import_bundle(bundle)
    assert store.artifact_names(EXAMPLE_ID) == ("components.logit.csv", "result.json")


def test_the_example_cannot_be_deleted(store: Store, bundle: Path) -> None:
    store.import_bundle(bundle)
    with pytest.raises(Refusal, match="is part of the program"):
        store.delete("example")
    assert store.read_artifact("example", "result.json") == b"{}"


def test_a_folder_that_is_no_bundle_is_refused(store: Store, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="contains no finished experiment"):
        store.import_bundle(tmp_path / "nowhere")
    (bundle / "experiment.json").write_text("{}")
    with pytest.raises(Refusal, match="contains no finished experiment"):
        store.import_bundle(bundle)


def test_the_example_that_is_shipped_is_imported_and_its_result_reads(store: Store) -> None:
    store.import_bundle(SHIPPED)
    result = PathPatchingResult.model_validate_json(store.read_artifact(EXAMPLE_ID, "result.json"))
    assert result.spec == store.experiment(EXAMPLE_ID).spec


def test_what_was_stored_before_there_were_options_reads_with_their_defaults() -> None:
    spec = spec_of().model_dump(mode="json")
    assert stored_spec_of({name: value for name, value in spec.items() if name not in LATER}) == spec_of()
    result = json.loads((SHIPPED / "result.json").read_bytes())
    for name in LATER:
        result["spec"].pop(name, None)
    result["provenance"].pop("plan", None)
    read = PathPatchingResult.model_validate(result)
    assert [getattr(read.spec, name) for name in LATER] == ["end", "counterfactual", "noising"]
    assert read.provenance.plan is None
