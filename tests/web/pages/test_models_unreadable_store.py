"""While the models folder cannot be read: a sentence and a status, for people and programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from quart.testing import QuartClient

from app.config import Settings
from app.server import create_app
from tests.application import OWN


@pytest.mark.parametrize("path", ["/", "/models", "/v1/models", "/api/tags", "/status"])
async def test_a_page_says_that_the_models_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    root = tmp_path / "models"
    root.mkdir()
    app = create_app(Settings(data_dir=tmp_path, models_dir=root, auto_pull=False))
    iterdir = Path.iterdir

    def locked(self: Path) -> Any:
        if self == root:
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    async with app.test_app():
        monkeypatch.setattr(Path, "iterdir", locked)
        answer = await QuartClient(app).get(path, headers=OWN)
        text = await answer.get_data(as_text=True)
        monkeypatch.undo()
    assert answer.status_code in {200, 503}
    if path != "/status":
        assert answer.status_code == 503
        assert "read its models folder (Permission denied)" in text.replace("&#39;", "'")
