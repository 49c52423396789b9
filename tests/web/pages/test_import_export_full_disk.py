"""An import whose body finds no room on the disk."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from quart.testing import QuartClient

from tests.application import run_app

OWN = {"Host": "localhost:8000", "Origin": "http://localhost:8000", "HX-Request": "true"}


class Full(io.BytesIO):
    def __init__(self, **_: object) -> None:
        super().__init__()

    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


async def test_an_upload_that_the_disk_cannot_take_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run_app(tmp_path) as app:
        monkeypatch.setattr("werkzeug.formparser.SpooledTemporaryFile", Full)
        head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="c.json"\r\n\r\n'
        body = head + b"x" * 1_000_000 + b"\r\n--x--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=x", "Content-Length": f"{len(body)}"}
        answer = await QuartClient(app).post("/exchange/import", headers=OWN | kind, data=body)
        text = await answer.get_data(as_text=True)
    assert (answer.status_code, "no room left" in text) == (507, True)
