"""Projectors: the files with which models see pictures, kept beside their weights."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from app.models.model import Model, Projector
from app.models.model_files import load_model, save_model
from app.models.store import ModelStore


@pytest.fixture
def seeing(store: ModelStore, tiny: Path) -> Model:
    """A model with a file beside its weights that stands for a projector."""
    model = store.install(tiny, "m")
    data = b"a projector"
    (model.folder / "mmproj.gguf").write_bytes(data)
    projector = Projector("mmproj.gguf", len(data), hashlib.sha256(data).hexdigest())
    save_model(replace(model, projector=projector), model.folder)
    return load_model(model.folder)


@pytest.mark.usefixtures("both_engines")
def test_a_model_with_a_projector_sees_and_runs_where_it_can(seeing: Model) -> None:
    assert seeing.sees
    assert seeing.engine == "llama.cpp"
    assert "pictures" in seeing.engine_choice.reason
    assert seeing.projector is not None
    assert seeing.loaded_size == seeing.size + seeing.projector.size
    assert seeing.projector_path == seeing.folder / "mmproj.gguf"


@pytest.mark.usefixtures("both_engines")
def test_on_the_other_engine_it_does_not_see(store: ModelStore, seeing: Model) -> None:
    assert not store.set_engine(seeing.name, "ctransformers").sees


@pytest.mark.usefixtures("both_engines")
def test_without_its_projector_a_model_still_answers(seeing: Model) -> None:
    (seeing.folder / "mmproj.gguf").write_bytes(b"cut")
    assert not load_model(seeing.folder).sees
    (seeing.folder / "mmproj.gguf").unlink()
    model = load_model(seeing.folder)
    assert (model.sees, model.projector, model.projector_path) == (False, None, None)
