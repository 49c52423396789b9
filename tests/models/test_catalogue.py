"""The data of the catalogue can be trusted to be well formed."""

from __future__ import annotations

import pytest

from app.config import Settings
from app.errors import PullError, PullRefused
from app.models import engines
from app.models.catalogue import CATALOGUE, FILE, find, offers, read_catalogue
from app.models.install.install import resolve
from app.models.sources import HubRepoSpec, HubSpec, PypiSpec
from app.models.store import NAME, ModelStore
from app.web.render.cards import find_better


def test_every_entry() -> None:
    assert len(CATALOGUE) >= 20
    sizes = [source.size for source in CATALOGUE.values() if not source.is_retired]
    assert sizes == sorted(sizes)
    for source in CATALOGUE.values():
        assert NAME.fullmatch(source.name)
        assert isinstance(source.spec, PypiSpec | HubSpec | HubRepoSpec)
        assert source.title
        assert source.license
        assert source.about.endswith(".")
        assert 10_000_000 < source.size < 30_000_000_000
        assert 1_000 < source.kv_bytes < 1_000_000
        assert 1_000 < source.context <= 262_144
        assert 0 <= source.rank <= 100
        assert 0.1 < source.billions < 40
        assert "#" not in source.source
        assert 0 <= source.sampling.temperature <= 1


def test_models_of_today_are_offered_where_llama_cpp_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)
    both = offers()
    assert 15 <= len(both) <= 32
    assert sum(entry.sees for entry in both) >= 8
    assert {entry.kind for entry in both} == {"text", "embedding"}
    assert not any(entry.is_retired for entry in both)
    monkeypatch.setattr(engines, "installed_engines", lambda: ("ctransformers",))
    assert {entry.name for entry in offers()} < {entry.name for entry in both}
    assert "smollm2-135m" in {entry.name for entry in offers()}


def test_a_model_of_an_earlier_list_can_still_be_had(store: ModelStore) -> None:
    assert resolve("tinyllama-1.1b", store).title == "TinyLlama 1.1B Chat v1.0"


@pytest.mark.parametrize(
    ("megabytes", "name"),
    [
        (1_500, "lfm2.5-1.2b"),
        (4_500, "qwen3.5-4b"),
        (8_000, "qwen3.5-4b"),
        (14_000, "gemma-4-e4b"),
        (32_000, "gemma-4-26b-a4b"),
        (50_000, "qwen3.6-35b-a3b"),
        (600, None),
    ],
)
def test_the_better_model_for_a_machine(
    megabytes: int, name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)
    settings = Settings(model_memory_mb=megabytes)
    found = find_better([], {"smollm2-135m"}, settings)
    assert (found.name if found else None) == name
    assert find_better([], {"qwen3.5-2b"}, settings) is None  # one is on its way


def test_the_default_model_is_pinned_by_its_checksums() -> None:
    spec = find("smollm2-135m").spec
    assert isinstance(spec, PypiSpec)
    assert spec.sha256
    assert spec.wheel_sha256
    assert spec.wheel_size == 92_871_040


def test_a_checksum_that_is_known_belongs_to_an_exact_size() -> None:
    pinned = [
        source
        for source in CATALOGUE.values()
        if isinstance(source.spec, PypiSpec | HubSpec) and source.spec.sha256
    ]
    assert len(pinned) >= 7
    assert all(source.size % 1000 for source in pinned if isinstance(source.spec, HubSpec))


def test_facts_missing_from_the_files_come_from_the_catalogue(store: ModelStore) -> None:
    spec = resolve("llama-2-7b", store)
    assert (spec.title, spec.license) == ("Llama 2 7B Chat", "Llama 2 Community License")


def test_unknown_names_and_invalid_catalogues_are_refused() -> None:
    with pytest.raises(PullError, match="smollm2-135m"):
        find("gpt-7")
    text = FILE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="one name"):
        read_catalogue(text + text)
    with pytest.raises(PullRefused):
        read_catalogue(text.replace("hf:", "ftp://"))
    with pytest.raises(TypeError):
        read_catalogue(text.replace("about", "motto"))
