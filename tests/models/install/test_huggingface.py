"""Pulling from the model hub: its own library's settings, and a small hub of our own."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import PullError
from app.models.install.huggingface import fetch_hub
from app.models.sources import HubSpec
from tests.models.stub_server import Stub
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

DATA = random.Random(2).randbytes(2_000_000)
COMMIT = "1234567890123456789012345678901234567890"
SPEC = HubSpec("who/what", "sub/m.gguf")
ASKED = "/who/what/resolve/main/sub/m.gguf"
FIXED = f"/who/what/resolve/{COMMIT}/sub/m.gguf"


@pytest.fixture
def hub(web: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Its files lie elsewhere, as those of the real one do."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", web.url)
    template = web.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    put(web, "sub/m.gguf", DATA)
    return web


def put(hub: Stub, path: str, data: bytes, revision: str = "main") -> None:
    headers = {
        "X-Repo-Commit": COMMIT,
        "X-Linked-Etag": f'"{hashlib.sha256(data).hexdigest()}"',
        "X-Linked-Size": str(len(data)),
    }
    hub.files[f"/store/{path}"] = data
    for each in (revision, COMMIT):
        address = f"/who/what/resolve/{each}/{path}"
        hub.redirects[address] = f"{hub.url.replace('127.0.0.1', 'localhost')}/store/{path}"
        hub.headers[address] = headers


async def fetch(folder: Path, spec: HubSpec = SPEC) -> Path:
    return await fetch_hub(spec, folder, lambda *_: None)


async def test_a_file_arrives_from_its_commit_and_is_checked(hub: Stub, tmp_path: Path) -> None:
    path = await fetch(tmp_path)
    assert (path.name, path.read_bytes()) == ("m.gguf", DATA)
    assert [(method, asked) for method, asked, _ in hub.asked] == [
        ("HEAD", ASKED),
        ("GET", FIXED),
        ("GET", "/store/sub/m.gguf"),
    ]


async def test_the_token_goes_to_the_hub_and_nowhere_else(hub: Stub, tmp_path: Path) -> None:
    await fetch(tmp_path)
    given = [headers.get("Authorization") for headers in hub.sent_headers]
    assert given == ["Bearer hf_secret", "Bearer hf_secret", None]


async def test_a_download_goes_on_after_a_cut(hub: Stub, tmp_path: Path) -> None:
    hub.cut_at = [500_000, 0]
    with pytest.raises(PullError, match="broke"):
        await fetch(tmp_path)
    assert (await fetch(tmp_path)).read_bytes() == DATA
    assert hub.ranges_asked[-1] == "bytes=500000-"


async def test_another_file_under_the_same_name_begins_anew(hub: Stub, tmp_path: Path) -> None:
    hub.cut_at = [500_000, 0]
    with pytest.raises(PullError, match="broke"):
        await fetch(tmp_path)
    put(hub, "sub/m.gguf", DATA[::-1])
    assert (await fetch(tmp_path)).read_bytes() == DATA[::-1]
    assert hub.ranges_asked[-1] == ""


async def test_a_download_has_the_size_and_hash_that_the_hub_names(
    hub: Stub, tmp_path: Path
) -> None:
    hub.files["/store/sub/m.gguf"] = DATA[::-1]
    with pytest.raises(PullError, match="Checksum mismatch"):
        await fetch(tmp_path)
    hub.files["/store/sub/m.gguf"] = DATA[:-1]
    with pytest.raises(PullError, match="unexpected size"):
        await fetch(tmp_path)
    assert not list(tmp_path.glob("*.gguf*"))
    with pytest.raises(PullError, match="another file on the hub now"):
        await fetch(tmp_path, HubSpec("who/what", "sub/m.gguf", sha256="0" * 64))


async def test_revisions_renamed_repositories_and_parts(hub: Stub, tmp_path: Path) -> None:
    for number in (1, 2):
        put(hub, f"m-0000{number}-of-00002.gguf", DATA[:number], revision="v1%2Fx")
    path = await fetch(tmp_path, HubSpec("who/what", "m-00001-of-00002.gguf", "v1/x"))
    assert path.name == "m-00001-of-00002.gguf"
    assert path.with_name("m-00002-of-00002.gguf").read_bytes() == DATA[:2]
    hub.redirects["/old/name/resolve/main/sub/m.gguf"] = ASKED
    hub.redirects[f"/old/name/resolve/{COMMIT}/sub/m.gguf"] = FIXED
    assert (await fetch(tmp_path, HubSpec("old/name", "sub/m.gguf"))).read_bytes() == DATA


@pytest.mark.parametrize(
    ("status", "code", "sentence"),
    [
        (403, "GatedRepo", "accepted its terms"),
        (401, "RepoNotFound", "HF_TOKEN"),
        (401, "", "HF_TOKEN"),
        (404, "RevisionNotFound", "no revision “main”"),
        (404, "EntryNotFound", "has no file sub/m.gguf"),
        (404, "", "does not have"),
        (503, "", "cannot answer now"),
    ],
)
async def test_refusals(hub: Stub, tmp_path: Path, status: int, code: str, sentence: str) -> None:
    hub.statuses[ASKED] = [status]
    hub.headers[ASKED] = {"X-Error-Code": code} if code else {}
    with pytest.raises(PullError, match=sentence):
        await fetch(tmp_path)


async def test_offline_and_unreachable(
    hub: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    template = "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(PullError, match=r"Can't reach 127\.0\.0\.1"):
        await fetch(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(PullError, match="HF_HUB_OFFLINE is set"):
        await fetch(tmp_path)
    assert hub.asked == []


def test_the_command_with_the_environment_of_the_library(web: Stub, tmp_path: Path) -> None:
    """Ctrl-C halfway; the same command goes on."""
    gguf = write_tiny_gguf(tmp_path / "m.gguf").read_bytes()
    put(web, "tiny.gguf", gguf)
    environ = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environ |= {
        "HF_ENDPOINT": web.url,
        "HF_TOKEN": "hf_other",
        "HF_HOME": str(tmp_path / "home"),
        "WICK_MODELS_DIR": str(tmp_path / "models"),
        "WICK_DATA_DIR": str(tmp_path / "data"),
    }
    command = [sys.executable, "-m", "app", "models", "pull", "hf:who/what/tiny.gguf"]
    web.stall = "/store/tiny.gguf"
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as running:
        assert web.stalled.wait(30)
        part = tmp_path / "models"
        while not any(path.stat().st_size for path in part.rglob("*.json")):
            assert running.poll() is None
        running.send_signal(signal.SIGINT)
        _, output = running.communicate(timeout=PATIENCE)
    assert running.returncode == 130
    assert output.endswith("Stopped. Run the same command to continue the download.\n")
    web.stall = ""
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.stdout == "Tiny is installed as tiny.\n", done.stderr
    assert web.sent_headers[0]["Authorization"] == "Bearer hf_other"
    assert sorted(path.name for path in part.iterdir()) == [".origins", "tiny"]
