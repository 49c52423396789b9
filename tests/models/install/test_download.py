"""Downloads over HTTP, from a server of our own that misbehaves."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import random
from pathlib import Path
from typing import BinaryIO

import httpx
import pytest

from app.errors import DiskFull, PullError
from app.models import disk, staging
from app.models.install import download, http_client
from app.models.install.download import fetch_web
from app.models.sources import WebSpec
from tests.models.stub_server import Stub
from tests.patience import PATIENCE

DATA = random.Random(1).randbytes(3_000_000)
PATH = "/m.gguf"


@pytest.fixture
def server(web: Stub) -> Stub:
    web.files[PATH] = DATA
    return web


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "partial"
    path.mkdir()
    return path


async def fetch(
    server: Stub, folder: Path, path: str = PATH, sha256: str | None = None
) -> list[tuple[int, int]]:
    steps: list[tuple[int, int]] = []
    spec = WebSpec(server.url + path, sha256)
    await fetch_web(spec, folder, lambda _, done, total: steps.append((done, total)))
    return steps


def test_a_range_of_thousands_of_digits_counts_as_none() -> None:
    assert download.CONTENT_RANGE.fullmatch("bytes */" + "9" * 5_000) is None


async def test_a_file_arrives_with_progress(server: Stub, folder: Path) -> None:
    steps = await fetch(server, folder, sha256=hashlib.sha256(DATA).hexdigest())
    assert (folder / "m.gguf").read_bytes() == DATA
    assert (len(DATA), len(DATA)) in steps
    assert len(steps) > 5


@pytest.mark.parametrize("etag", [True, False])
async def test_a_download_goes_on_after_a_cut(server: Stub, folder: Path, etag: bool) -> None:
    server.etag = etag
    server.headers[PATH] = {} if etag else {"Last-Modified": "Mon, 02 Nov 2026 10:00:00 GMT"}
    server.cut_at = [1_000_000, 500_000]
    if not etag:  # the stub knows only ETags, so it begins anew
        server.cut_at = [1_000_000]
    await fetch(server, folder)
    assert (folder / "m.gguf").read_bytes() == DATA
    if etag:
        assert server.ranges_asked == ["", "bytes=1000000-", "bytes=1500000-"]
    else:
        assert server.sent_headers[-1]["If-Range"] == "Mon, 02 Nov 2026 10:00:00 GMT"


async def test_a_later_pull_goes_on_with_a_download(server: Stub, folder: Path) -> None:
    server.cut_at = [1_000_000]
    server.statuses[PATH] = [0, 503]
    with pytest.raises(PullError, match=r"cannot answer now \(503\)"):
        await fetch(server, folder)
    assert (folder / "m.gguf.part").stat().st_size == 1_000_000
    await fetch(server, folder)
    assert server.ranges_asked[-1] == "bytes=1000000-"
    assert (folder / "m.gguf").read_bytes() == DATA


async def test_a_whole_file_is_not_downloaded_again(server: Stub, folder: Path) -> None:
    await fetch(server, folder)
    await fetch(server, folder)
    assert server.ranges_asked == ["", f"bytes={len(DATA)}-"]
    assert (folder / "m.gguf").read_bytes() == DATA


async def test_a_file_that_changed_meanwhile_is_begun_anew(server: Stub, folder: Path) -> None:
    server.cut_at = [1_000_000, 0]
    with pytest.raises(PullError, match="broke"):
        await fetch(server, folder)
    server.files[PATH] = DATA[::-1]
    await fetch(server, folder)
    assert (folder / "m.gguf").read_bytes() == DATA[::-1]


async def test_a_server_without_versions_begins_anew(server: Stub, folder: Path) -> None:
    server.etag = False
    server.cut_at = [1_000_000]
    await fetch(server, folder)
    assert server.ranges_asked == ["", ""]
    assert (folder / "m.gguf").read_bytes() == DATA


async def test_a_server_without_ranges_begins_anew(server: Stub, folder: Path) -> None:
    server.ranges = False
    server.cut_at = [1_000_000]
    await fetch(server, folder)
    assert (folder / "m.gguf").read_bytes() == DATA


async def test_another_part_than_was_asked_for_is_not_taken(server: Stub, folder: Path) -> None:
    server.cut_at = [1_000_000]
    server.headers[PATH] = {}
    server.statuses[PATH] = [0, 206]  # a 206 that does not say which part it is
    await fetch(server, folder)
    assert (folder / "m.gguf").read_bytes() == DATA


async def test_a_download_with_a_wrong_checksum_is_deleted(server: Stub, folder: Path) -> None:
    with pytest.raises(PullError, match="Checksum mismatch"):
        await fetch(server, folder, sha256="0" * 64)
    assert list(folder.iterdir()) == []


async def test_a_server_that_says_no_length(server: Stub, folder: Path) -> None:
    server.says_length = False
    steps = await fetch(server, folder)
    assert (folder / "m.gguf").read_bytes() == DATA
    assert steps[-1] == (len(DATA), 0)


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (401, "does not give public access to this file"),
        (403, "does not give"),
        (404, "does not have"),
        (429, "cannot answer now"),
        (500, "cannot answer now"),
        (418, "answered with 418"),
    ],
)
async def test_refusals(server: Stub, folder: Path, status: int, sentence: str) -> None:
    server.statuses[PATH] = [status]
    with pytest.raises(PullError, match=sentence):
        await fetch(server, folder)


async def test_a_web_page_is_not_a_model(server: Stub, folder: Path) -> None:
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(PullError, match="web page"):
        await fetch(server, folder)


async def test_an_unreachable_host(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(PullError, match=r"Can't reach 127\.0\.0\.1"):
        await fetch_web(WebSpec("http://127.0.0.1:9/m.gguf"), folder, lambda *_: None)


async def test_redirects_lead_to_https_only(server: Stub, folder: Path) -> None:
    server.redirects["/here.gguf"] = "/m.gguf?token=1"
    await fetch(server, folder, "/here.gguf")
    assert (folder / "here.gguf").read_bytes() == DATA
    server.redirects["/plain.gguf"] = "http://192.0.2.1/m.gguf"
    with pytest.raises(PullError, match="not https"):
        await fetch(server, folder, "/plain.gguf")
    server.redirects["/file.gguf"] = "file:///etc/passwd"
    with pytest.raises(PullError):
        await fetch(server, folder, "/file.gguf")
    server.redirects["/odd.gguf"] = "https://a..b/m.gguf"
    with pytest.raises(PullError, match=r"Can't reach a\.\.b"):
        await fetch(server, folder, "/odd.gguf")
    server.redirects["/round.gguf"] = "/round.gguf"
    with pytest.raises(PullError, match="without end"):
        await fetch(server, folder, "/round.gguf")


async def test_a_stalled_server_is_given_up(
    server: Stub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_client, "TIMEOUT", httpx.Timeout(PATIENCE, read=0.5))
    monkeypatch.setattr(download, "MAX_ATTEMPTS", 1)
    server.stall = PATH
    with pytest.raises(PullError, match="sent nothing for a while"):
        await fetch(server, folder)
    assert (folder / "m.gguf.part").stat().st_size == len(DATA) // 2


async def test_cancelling_is_at_once_and_keeps_what_came(server: Stub, folder: Path) -> None:
    server.stall = PATH
    half = asyncio.Event()

    def notify(_: str, done: int, __: int) -> None:
        if done >= len(DATA) // 2:
            half.set()

    task = asyncio.create_task(fetch_web(WebSpec(server.url + PATH), folder, notify))
    await asyncio.wait_for(half.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert (folder / "m.gguf.part").read_bytes() == DATA[: len(DATA) // 2]


async def test_all_parts_of_a_split_model_in_one_progress(server: Stub, folder: Path) -> None:
    for number in (1, 2, 3):
        part = DATA[(number - 1) * 1_000_000 : number * 1_000_000]
        server.files[f"/a b/m-0000{number}-of-00003.gguf"] = part
    del server.files[PATH]
    server.files = {path.replace(" ", "%20"): data for path, data in server.files.items()}
    server.statuses["/a%20b/m-00003-of-00003.gguf"] = [0, 503]
    with pytest.raises(PullError, match="503"):
        await fetch(server, folder, "/a%20b/m-00002-of-00003.gguf")
    server.asked.clear()
    steps = await fetch(server, folder, "/a%20b/m-00002-of-00003.gguf")
    names = [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert sorted(path.name for path in folder.glob("*.gguf")) == names
    assert b"".join((folder / name).read_bytes() for name in names) == DATA
    assert all(total == len(DATA) for _, total in steps)
    assert steps[-1] == (len(DATA), len(DATA))
    assert server.ranges_asked.count("bytes=1000000-") == 2  # those that are whole


async def test_a_full_disk_is_found_before_anything_is_fetched(
    server: Stub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "shutil.disk_usage", lambda _: type("U", (), {"free": disk.RESERVED_BYTES + 9})()
    )
    with pytest.raises(DiskFull, match="no room"):
        await fetch(server, folder)
    assert not (folder / "m.gguf.part").exists()


async def test_a_disk_that_fills_meanwhile(
    server: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(_: BinaryIO, __: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(download, "write_chunk", full)
        with (
            pytest.raises(DiskFull, match="no room left"),
            staging.partial(tmp_path, "x") as folder,
        ):
            await fetch(server, folder)
    with staging.partial(tmp_path, "x") as folder:
        await fetch(server, folder)
        assert (folder / "m.gguf").read_bytes() == DATA


async def test_a_note_that_is_damaged_counts_for_nothing(server: Stub, folder: Path) -> None:
    for note in ("[", "[1]", json.dumps({"validator": None}), "\0"):
        (folder / "m.gguf.part").write_bytes(b"something else")
        (folder / "m.gguf.json").write_text(note)
        await fetch(server, folder)
        assert (folder / "m.gguf").read_bytes() == DATA
        (folder / "m.gguf").unlink()
