from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.models.store import ModelStore
from tests.terminal.terminal import Terminal, wick_environment
from tests.tiny_gguf import write_tiny_gguf

Open = Callable[..., Terminal]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model store with two models that write nonsense quickly and without an end."""
    folder = tmp_path_factory.mktemp("store")
    for name, seed in (("tiny", 0), ("other", 1)):
        source = write_tiny_gguf(folder / f"{name}.gguf", context_length=32768, seed=seed)
        ModelStore(folder / "models").install(source, name)
    return folder / "models"


@pytest.fixture
def environ(tmp_path: Path, store: Path) -> dict[str, str]:
    """Environment in which answers are short."""
    return wick_environment(tmp_path / "data", store, max_tokens=30, default_model="tiny")


@pytest.fixture
def endless(tmp_path: Path, store: Path) -> dict[str, str]:
    return wick_environment(
        tmp_path / "data", store, max_tokens=30000, context=32768, default_model="tiny"
    )


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Open]:
    """Function that opens terminals with `wick chat` in them."""
    opened: list[Terminal] = []

    def begin(environ: dict[str, str], *words: str, width: int = 80) -> Terminal:
        opened.append(Terminal(environ, *words, folder=tmp_path, width=width))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()
