from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.models import engines
from app.models.gguf.reader import read_header
from app.models.install import download
from app.models.store import ModelStore
from app.models.text.tokenizer import Tokenizer
from app.models.text.tokenizer_builder import save_tokenizer
from tests.models.stub_server import Stub, serve_stub
from tests.tiny_gguf import Flavour, write_tiny_gguf


@pytest.fixture
def both_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the libraries of both engines are installed."""
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny_gguf(tmp_path / "tiny.gguf")


def make_tokenizer(folder: Path, flavour: Flavour, **overrides: object) -> Tokenizer:
    source = write_tiny_gguf(folder / f"{flavour}.gguf", flavour=flavour, **overrides)  # type: ignore[arg-type]
    save_tokenizer(read_header(source), folder)
    return Tokenizer.load(folder)


def encode_template(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of a template's own text: names of special tokens become those tokens."""
    ids: list[int] = []
    for part in tokenizer.split_special_tokens(text):
        ids += [part] if isinstance(part, int) else tokenizer.encode(part)
    return ids


@pytest.fixture(scope="session")
def bpe(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("bpe"), "bpe")


@pytest.fixture(scope="session")
def spm(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return make_tokenizer(tmp_path_factory.mktemp("spm"), "spm")


@pytest.fixture(params=["bpe", "spm"])
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Tokenizer)
    return found


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """A web server of our own, reached without a proxy; a broken connection is tried at once."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serve_stub() as stub:
        yield stub
