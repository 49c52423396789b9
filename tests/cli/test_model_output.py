"""Tables of models on a narrow terminal: a long name takes nothing from the other columns."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from app.cli.model_output import ModelStatus, catalogue_table, models_table, remote_table
from app.config import Settings
from app.models.catalogue import CATALOGUE
from app.models.store import ModelStore
from app.models.upstream import Upstream
from tests.tiny_gguf import write_tiny_gguf

LONG = "a-very-long-name-of-a-model-that-somebody-gave-it-in-q4-k-m-gguf"


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    store = ModelStore(tmp_path / "models")
    source = write_tiny_gguf(tmp_path / "t.gguf")
    store.install(source, "tiny", title="SmolLM2 135M Instruct", license_name="apache-2.0")
    store.install(source, LONG, title="Qwen 2.5 Coder 1.5B Instruct", license_name="apache-2.0")
    store.add_remote(
        "far-" + LONG[:50], [Upstream("http://gpu.example.org:8000/v1", "Qwen/" + LONG)]
    )
    return store


def drawn(table: Table, width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    lines: list[str] = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    return [line.rstrip() for line in lines if line.strip()]


@pytest.mark.parametrize("width", [72, 80, 100, 200])
@pytest.mark.parametrize("is_live", [False, True])
def test_a_long_model_name_folds_and_no_other_column(
    store: ModelStore, width: int, is_live: bool
) -> None:
    here = [model for model in store.models() if model.remote is None]
    report = {
        model.name: ModelStatus(
            model.name, "ready", "Ready, writing 2 answers", None, None, 123.4, 5
        )
        for model in here
    }
    table = models_table(
        here, Settings(models_dir=store.root), "tiny", report if is_live else None, width=width
    )
    lines = drawn(table, width)
    assert max(map(len, lines)) <= width
    assert "a-very-long-name-of-" in "".join(lines)
    assert any(line.split()[:2] == ["tiny", "*"] for line in lines), lines
    for heading in ("Context", "Size", "Memory", *(("Speed",) if is_live else ())):
        assert heading in lines[0]
    assert len(lines) <= 2 + 4 + 3, lines  # the long name's four lines, and few of the other
    if width >= 100:
        assert "SmolLM2" in "".join(lines)


def test_the_catalogue_and_found_models_fit_in_a_line(store: ModelStore) -> None:
    lines = drawn(remote_table(store.models(), "tiny", width=80), 80)
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 2 + 4
    lines = drawn(catalogue_table(CATALOGUE.values(), Settings(), width=80), 80)
    assert max(map(len, lines)) <= 80
    assert any(line.split()[0] == "smollm2-135m" for line in lines)
