"""Files in the messages of programs: by the id of an upload, and with their bytes."""

from __future__ import annotations

import base64
from typing import Any

import httpx


def asking(*files: dict[str, Any]) -> dict[str, Any]:
    parts = [{"type": "file", "file": file} for file in files]
    content = [*parts, {"type": "text", "text": "What is it?"}]
    return {
        "model": "tiny",
        "max_tokens": 2,
        "messages": [{"role": "user", "content": content}],
    }


async def test_files_come_by_id_or_with_their_bytes(http: httpx.AsyncClient) -> None:
    plain = await http.post("/v1/chat/completions", json=asking())
    uploaded = await http.post("/api/v1/files?name=a.md", content=b"A list of words. " * 20)
    number = uploaded.json()["id"]
    listed = (await http.get("/api/v1/files")).json()["data"]
    assert number in [file["id"] for file in listed]
    data = base64.b64encode(b"Other words. " * 20).decode()
    sent = {"filename": "b.txt", "file_data": f"data:text/plain;base64,{data}"}
    for file in ({"file_id": number}, {"file_id": f"file-{number}"}, sent):
        answer = await http.post("/v1/chat/completions", json=asking(file))
        assert answer.status_code == 200, answer.text
        tokens = [one.json()["usage"]["prompt_tokens"] for one in (plain, answer)]
        assert tokens[1] > tokens[0] + 40
    for wrong, status in (
        ({"file_id": 999_999}, 404),
        ({"file_id": "x"}, 404),
        ({"file_data": "§"}, 400),
        ({}, 400),
    ):
        answer = await http.post("/v1/chat/completions", json=asking(wrong))
        assert answer.status_code == status, answer.text
        assert answer.json()["error"]["param"] == "messages[0].content[0].file"
