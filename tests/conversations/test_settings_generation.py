from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from app.config import Settings
from app.conversations.settings import (
    ChatSettings,
    parse_generation_settings,
    resolve,
    system_turns,
)
from app.models.model import ModelSettings, Turn
from app.models.parameters import GenerationSettings, Sampling
from app.models.store import ModelStore
from tests.tiny_gguf import write_tiny_gguf


def test_choices_for_a_model_override_what_its_authors_recommend(tmp_path: Path) -> None:
    store, settings = ModelStore(tmp_path / "models"), Settings(context=4096, max_tokens=77)
    advice = Sampling(temperature=0.3)
    model = store.install(write_tiny_gguf(tmp_path / "x.gguf"), "tiny", sampling=advice)
    usual = resolve(settings, model)
    assert usual == GenerationSettings("", advice, 77, model.context_length)
    assert system_turns(usual) == ()
    chosen = Sampling(temperature=0.0, seed=4)
    store.save_settings("tiny", ModelSettings(" Be brief. ", chosen, 256))
    made_with = resolve(settings, store.get("tiny"))
    assert made_with == GenerationSettings("Be brief.", chosen, 77, 256)
    assert system_turns(made_with) == (Turn("system", "Be brief."),)


def test_stop_strings_follow_from_the_template(tmp_path: Path) -> None:
    store = ModelStore(tmp_path / "models")
    store.install(write_tiny_gguf(tmp_path / "x.gguf"), "tiny")
    store.save_settings("tiny", ModelSettings(template="alpaca"))
    usual = resolve(Settings(), store.get("tiny"))
    assert "### Instruction:" in usual.stop
    assert ChatSettings(stop=("END",)).merged_with(usual).stop == (*usual.stop, "END")
    assert ChatSettings().merged_with(usual).stop == usual.stop


def test_stored_settings_of_an_answer_are_read_again() -> None:
    made_with = GenerationSettings("Ünïcode \n“quoted”", Sampling(seed=3), 12, 512)
    assert parse_generation_settings(made_with.to_json()) == made_with
    other = replace(made_with, context_length=None)
    assert parse_generation_settings(other.to_json()) == other


def test_unreadable_settings_of_an_answer_are_none() -> None:
    for text in (None, "", "nonsense", "[]", "{}", '{"sampling": {"speed": 1}}', '{"sampling": 3}'):
        assert parse_generation_settings(text) is None
