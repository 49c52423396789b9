"""OpenAI's own client for JavaScript against the real server, run by node."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.e2e.server import ROOT, Server
from tests.patience import PATIENCE

VERSION = "6.49.0"
FOLDER = ROOT / ".cache" / f"npm-openai-{VERSION}"
SCRIPT = Path(__file__).with_name("javascript_client.mjs")


async def run(*command: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE):
        said, noise = await process.communicate()
    assert process.returncode == 0, noise.decode()
    return said.decode()


@pytest.fixture(scope="module")
async def script() -> Path:
    """The script beside the client, which is fetched once."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed here")
    if not (FOLDER / "node_modules" / "openai").is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "package.json").write_text('{"private": true}')
        flags = ("--no-audit", "--no-fund", "--ignore-scripts", "--no-save")
        await run("npm", "install", *flags, f"openai@{VERSION}")
    return Path(shutil.copy(SCRIPT, FOLDER))


async def test_the_javascript_client_understands_everything(server: Server, script: Path) -> None:
    seen = json.loads(await run("node", script, server.origin))
    assert seen["models"] == ["tiny"]
    assert seen["whole"]
    assert seen["streamed"] == seen["whole"]
    assert (seen["usage"], seen["streamedUsage"]) == (12, 12)
    assert seen["error"] == ["NotFoundError", 404, "model_not_found", "model"]
