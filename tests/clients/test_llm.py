"""A tool that others made for OpenAI's protocol: `llm`, with Wick as one more of its models."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.server import Server, environment

MODELS = """\
- model_id: wick
  model_name: tiny
  api_base: {origin}/v1
  api_key_name: wick
"""


@pytest.mark.parametrize("how", [(), ("--no-stream",)], ids=["streamed", "whole"])
async def test_llm_asks_wick(
    server: Server, http: httpx.AsyncClient, tmp_path: Path, how: tuple[str, ...]
) -> None:
    (tmp_path / "extra-openai-models.yaml").write_text(MODELS.format(origin=server.origin))
    options = ("-o", "max_tokens", "8", "-o", "temperature", "0", "--no-log", "--key", "unused")
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "llm", "-m", "wick", *options, *how, "Hello there"),
        env=environment({}) | {"LLM_USER_PATH": str(tmp_path)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complaint = await child.communicate()
    assert child.returncode == 0, complaint.decode()
    asked = {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hello there"}],
        "max_tokens": 8,
        "temperature": 0,
    }
    answer = (await http.post("/v1/chat/completions", json=asked)).json()
    assert said.decode().strip() == answer["choices"][0]["message"]["content"].strip() != ""
