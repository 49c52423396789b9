"""Which engine runs a model: what was chosen, what can run it, and what was measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ModelError
from app.models import engines
from app.models.engines import ENGINES, EngineSpeed, choose_engine
from app.models.store import ModelStore
from tests.models.gguf.test_engine_support import header_of
from tests.models.test_model_builder import make_old

OLD, NEW = ENGINES
SMALL, LARGE = 135_000_000, 1_200_000_000
QUICK_PROMPT = {OLD: EngineSpeed(44, 56), NEW: EngineSpeed(51, 118)}
QUICK_ANSWER = {OLD: EngineSpeed(240, 350), NEW: EngineSpeed(150, 450)}


@pytest.mark.parametrize(
    ("setting", "runs_on", "parameters", "speeds", "available", "expected", "why"),
    [
        ("auto", ENGINES, SMALL, {}, ENGINES, OLD, "this small"),
        ("auto", ENGINES, LARGE, {}, ENGINES, NEW, "of this size"),
        ("auto", ENGINES, SMALL, QUICK_PROMPT, ENGINES, NEW, "51 tokens per second against 44"),
        ("auto", ENGINES, LARGE, QUICK_ANSWER, ENGINES, OLD, "faster here"),
        ("auto", ENGINES, SMALL, {NEW: EngineSpeed(999, 999)}, ENGINES, OLD, "this small"),
        ("auto", (NEW,), SMALL, QUICK_ANSWER, ENGINES, NEW, "ctransformers can't run it"),
        ("auto", (OLD,), LARGE, {}, ENGINES, OLD, "llama.cpp can't run it"),
        ("auto", ENGINES, LARGE, {}, (OLD,), OLD, "llama.cpp is not installed here"),
        ("auto", (NEW,), LARGE, {}, (OLD,), NEW, "it is not installed here"),
        (OLD, ENGINES, LARGE, QUICK_PROMPT, ENGINES, OLD, "you chose it"),
        (NEW, ENGINES, SMALL, {}, ENGINES, NEW, "you chose it"),
        (NEW, ENGINES, SMALL, {}, (OLD,), OLD, "llama.cpp is not installed here"),
        (OLD, (NEW,), SMALL, {}, ENGINES, NEW, "which you chose, can't run it"),
    ],
)
def test_the_engine_of_a_model(
    setting: Any,
    runs_on: Any,
    parameters: int,
    speeds: Any,
    available: Any,
    expected: str,
    why: str,
) -> None:
    choice = choose_engine(setting, runs_on, parameters, speeds, available)
    assert choice.engine == expected
    assert why in choice.reason


def test_ctransformers_is_here() -> None:
    assert engines.available_engines()[0] == "ctransformers"


@pytest.mark.usefixtures("both_engines")
def test_an_engine_is_chosen_and_kept(store: ModelStore, tiny: Path) -> None:
    store.install(tiny, "m")
    model = store.set_engine("m", "llama.cpp")
    assert (model.engine, model.settings.engine) == ("llama.cpp", "llama.cpp")
    assert not model.weights_path.exists()  # it is made again when it is needed
    assert store.set_engine("m", "auto").engine == "ctransformers"
    with pytest.raises(ModelError, match="Choose one of auto, ctransformers, llama"):
        store.set_engine("m", "vllm")


def test_an_engine_that_cannot_run_it_is_refused(
    store: ModelStore, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: ENGINES)
    store.install(header_of(tmp_path / "q.gguf", "qwen3"), "q")
    with pytest.raises(ModelError, match=r"ctransformers can't run q; llama\.cpp can"):
        store.set_engine("q", "ctransformers")
    make_old(store.install(tiny, "old"))
    with pytest.raises(ModelError, match=r"Only the copy .* wick models pull old"):
        store.set_engine("old", "llama.cpp")
    store.install(tiny, "m")
    monkeypatch.setattr(engines, "installed_engines", lambda: (OLD,))
    with pytest.raises(ModelError, match=r"not installed here .pip install xllamacpp"):
        store.set_engine("m", "llama.cpp")
