"""The data of the catalogue can be trusted to be well formed."""

from __future__ import annotations

import pytest

from app.errors import PullError, PullRefused
from app.models.catalogue import CATALOGUE, FILE, find, read_catalogue
from app.models.install.install import resolve
from app.models.sources import HubSpec, PypiSpec
from app.models.store import NAME, ModelStore


def test_every_entry() -> None:
    assert len(CATALOGUE) >= 8
    sizes = [source.size for source in CATALOGUE.values()]
    assert sizes == sorted(sizes)
    for source in CATALOGUE.values():
        assert NAME.fullmatch(source.name)
        assert isinstance(source.spec, PypiSpec | HubSpec)
        assert source.title
        assert source.license
        assert source.about.endswith(".")
        assert 10_000_000 < source.size < 10_000_000_000
        assert "#" not in source.source
        assert 0 <= source.sampling.temperature <= 1


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


def test_what_the_files_do_not_tell_comes_from_the_catalogue(shelf: ModelStore) -> None:
    wish = resolve("llama-2-7b", shelf)
    assert (wish.title, wish.license) == ("Llama 2 7B Chat", "Llama 2 Community License")


def test_what_is_not_there_and_what_is_wrong() -> None:
    with pytest.raises(PullError, match="smollm2-135m"):
        find("gpt-7")
    text = FILE.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="one name"):
        read_catalogue(text + text)
    with pytest.raises(PullRefused):
        read_catalogue(text.replace("hf:", "ftp://"))
    with pytest.raises(TypeError):
        read_catalogue(text.replace("about", "motto"))
