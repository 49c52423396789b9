"""Pulls in the server: started, joined, cancelled, retried, uploaded; the store stays whole."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.errors import ModelError, PullError, PullRefused
from app.models.install.install import ORIGINS_FOLDER as ORIGINS
from app.models.install.install import ModelSource
from app.models.install.progress import PullProgress
from app.models.install.pulls import Pull, PullManager
from app.models.install.upload import UploadManifest, group_uploads
from app.models.model import Model
from app.models.staging import PARTIAL
from app.models.store import ModelStore
from tests.models.gguf.test_reader_split import parts_of
from tests.models.stub_server import Stub
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

PATH = "/tiny.gguf"


@pytest.fixture
def gguf(tiny: Path) -> bytes:
    return tiny.read_bytes()


@pytest.fixture
def server(web: Stub, gguf: bytes) -> Stub:
    web.files[PATH] = gguf
    return web


@pytest.fixture
async def pulls(store: ModelStore) -> AsyncIterator[PullManager]:
    pulls = PullManager(store)
    yield pulls
    await pulls.close()


async def ended(pull: Pull) -> Pull:
    assert pull.task is not None
    await asyncio.wait([pull.task], timeout=PATIENCE)
    await asyncio.sleep(0)
    assert not pull.is_running
    return pull


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def names(store: ModelStore) -> list[str]:
    return sorted(p.name for p in store.root.iterdir() if p.name != ORIGINS)


async def half_way(pulls: PullManager, server: Stub, text: str) -> Pull:
    """A pull that has half of the file and gets no more."""
    server.stall = PATH
    half = asyncio.Event()

    def look() -> None:
        if any(pull.progress.done for pull in pulls.all()):
            half.set()

    pulls.listeners.append(look)
    pull = pulls.start(text)
    await asyncio.wait_for(half.wait(), PATIENCE)
    return pull


async def test_a_pull_from_the_web(pulls: PullManager, store: ModelStore, server: Stub) -> None:
    stages: list[str] = []
    pulls.listeners.append(lambda: stages.extend(p.progress.stage for p in pulls.all()))
    pull = pulls.start(f"{server.url}{PATH}?token=1", "my-tiny")
    assert (pull.name, pull.source, pull.is_running) == ("my-tiny", server.url + PATH, True)
    assert pulls.get("my-tiny") is pull
    await ended(pull)
    assert (pull.error, pulls.all()) == (None, [])
    assert store.get("my-tiny").title == "Tiny"
    assert names(store) == ["my-tiny"]
    # What was removed comes back by its name alone, from where it was.
    store.remove("my-tiny")
    assert (await ended(pulls.pull_again("my-tiny"))).text == f"{server.url}{PATH}?token=1"
    assert names(store) == ["my-tiny"]
    kept = store.root / ORIGINS / "my-tiny.json"
    assert kept.stat().st_mode & 0o077 == 0
    for damage in ("", "[]", '{"text": 1}', "\udcff"):
        kept.write_text(damage, errors="surrogateescape")
        assert pulls.origins.find("my-tiny") is None
    assert pulls.origins.find("../my-tiny") is None
    pulls.origins.keep("sent", ModelSource("", "Sent", 1))
    for name, sentence in (("sent", "Send it again"), ("my-tiny", "catalogue has no model")):
        with pytest.raises(PullError, match=sentence):
            pulls.pull_again(name)
    assert list(dict.fromkeys(stages)) == ["downloading", "installing"]


async def test_a_cancelled_pull_goes_on_where_it_was_after_a_restart(
    pulls: PullManager, store: ModelStore, server: Stub, gguf: bytes
) -> None:
    pull = await half_way(pulls, server, server.url + PATH)
    pulls.cancel("tiny")
    await ended(pull)
    assert (pull.is_cancelled, pull.error, pulls.all()) == (True, None, [])
    assert len(names(store)) == 1
    assert names(store)[0].startswith(PARTIAL)
    assert store.models() == []
    server.stall = ""
    again = PullManager(store)
    await ended(again.start(server.url + PATH))
    assert server.ranges_asked[-1] == f"bytes={len(gguf) // 2}-"
    assert names(store) == ["tiny"]


async def test_closing_stops_all_at_once(pulls: PullManager, server: Stub) -> None:
    pull = await half_way(pulls, server, server.url + PATH)
    waiting = asyncio.create_task(pulls.wait_for("tiny", lambda _: None))
    await asyncio.sleep(0)
    await asyncio.wait_for(pulls.close(), PATIENCE)
    assert not pull.is_running
    with pytest.raises(PullError, match="cancelled"):
        await waiting


async def test_a_pull_that_is_being_stopped_is_not_joined(pulls: PullManager, server: Stub) -> None:
    pull = await half_way(pulls, server, server.url + PATH)
    pulls.cancel("tiny")
    with pytest.raises(PullRefused, match="just being stopped"):
        pulls.start(server.url + PATH)
    await ended(pull)


async def test_two_pulls_of_one_name(pulls: PullManager, server: Stub) -> None:
    pull = await half_way(pulls, server, server.url + PATH)
    assert pulls.start(server.url + PATH) is pull
    with pytest.raises(PullRefused, match="on its way already as “tiny”"):
        pulls.start("hf:who/what/tiny.gguf")
    with pytest.raises(PullRefused, match="on its way already"):
        await pulls.receive(UploadManifest("tiny.gguf", None), pieces(b"GGUF"))
    other = pulls.start(server.url + PATH, "other")
    await ended(other)
    assert "being fetched already" in (other.error or "")


async def test_an_invalid_source_is_refused_before_anything_begins(
    pulls: PullManager, store: ModelStore, tiny: Path
) -> None:
    store.install(tiny, "taken")
    for text, name, sentence in (
        ("gpt-7", None, "source Wick recognizes"),
        ("hf:a/b/taken.gguf", None, "already"),
        ("smollm2-135m", "Not Allowed", "cannot be"),
        (str(tiny.with_name("none.gguf")), None, "There is no file"),
    ):
        with pytest.raises(PullRefused, match=sentence):
            pulls.start(text, name)
    assert pulls.all() == []
    pulls.try_start("gpt-7")
    assert [pull.error is None for pull in pulls.all()] == [False]


async def test_failures_are_kept_retried_and_dismissed(
    pulls: PullManager, store: ModelStore, server: Stub
) -> None:
    server.statuses[PATH] = [404, 404]
    pull = await ended(pulls.start(server.url + PATH))
    assert pull.error == "127.0.0.1 does not have this file."
    assert pulls.all() == [pull]
    assert names(store) == []
    pull = await ended(pulls.retry("tiny"))
    assert pull.error
    pulls.dismiss("tiny")
    assert pulls.all() == []
    with pytest.raises(PullRefused):
        pulls.retry("tiny")


async def test_a_file_that_will_not_do_leaves_nothing(
    pulls: PullManager, store: ModelStore, server: Stub
) -> None:
    server.files[PATH] = b"GGUF" + bytes(100)
    pull = await ended(pulls.start(server.url + PATH))
    assert pull.error
    assert names(store) == []


async def test_a_local_file_and_a_folder(
    pulls: PullManager, store: ModelStore, tmp_path: Path
) -> None:
    folder = tmp_path / "given"
    folder.mkdir()
    with pytest.raises(PullRefused, match="no GGUF file"):
        pulls.start(str(folder))
    write_tiny_gguf(folder / "One.gguf")
    await ended(pulls.start(str(folder)))
    assert names(store) == ["one"]
    write_tiny_gguf(folder / "Two.gguf")
    with pytest.raises(PullRefused, match="2 models"):
        pulls.start(str(folder))
    (folder / "a-00001-of-00002.gguf").touch()
    with pytest.raises(PullRefused, match=r"a-00002-of-00002\.gguf is not there"):
        pulls.start(str(folder / "a-00001-of-00002.gguf"))


async def test_listeners_hear_of_a_step_now_and_then(pulls: PullManager) -> None:
    over, last = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(_never(over), name="pull x")
    pull = Pull("x", "X", "somewhere", PullProgress("downloading", 0, 1000), task=task)
    steps: list[PullProgress] = []

    def hear() -> None:
        steps.append(pull.progress)
        if pull.progress.done == 999:
            last.set()

    pulls.listeners.append(hear)
    for done in range(1000):
        pulls._advance(pull, PullProgress("downloading", done, 1000))
    assert len(steps) <= 1
    await asyncio.wait_for(
        last.wait(), PATIENCE
    )  # the last step is stages of a little later, not never
    assert len(steps) <= 2
    pulls._advance(pull, PullProgress("checking", 0, 1000))
    assert steps[-1].stage == "checking"
    task.cancel()


async def _never(over: asyncio.Event) -> Model:
    await over.wait()
    raise AssertionError


async def test_an_uploaded_file_is_installed(
    pulls: PullManager, store: ModelStore, gguf: bytes
) -> None:
    stages: list[str] = []
    pulls.listeners.append(lambda: stages.extend(p.progress.stage for p in pulls.all()))
    model = await pulls.receive(UploadManifest("Tiny One.gguf", (len(gguf),)), pieces(gguf))
    assert (model.name, names(store)) == ("tiny-one", ["tiny-one"])
    assert list(dict.fromkeys(stages)) == ["receiving", "installing"]
    assert (await pulls.receive(UploadManifest("unsaid.gguf", None), pieces(gguf))).name == "unsaid"
    with pytest.raises(PullRefused, match="already"):
        await pulls.receive(UploadManifest("tiny-one.gguf", None), pieces(gguf))


@pytest.mark.parametrize("size", [1000, 3 << 20])
async def test_the_parts_of_a_split_model_come_one_after_the_other(
    pulls: PullManager, store: ModelStore, size: int
) -> None:
    """Pieces of any size: most are cut where no part ends."""
    parts = parts_of(3)
    parcel = UploadManifest("Tiny-00001-of-00003.gguf", tuple(len(part) for part in parts))
    model = await pulls.receive(parcel, pieces(b"".join(parts), size))
    assert (model.name, names(store)) == ("tiny", ["tiny"])
    assert model.title == "Tiny"
    # In another order than their names say, they are told apart.
    mixed = UploadManifest("mixed-00001-of-00003.gguf", tuple(len(part) for part in parts[::-1]))
    with pytest.raises(ModelError, match="is not the part that its name says"):
        await pulls.receive(mixed, pieces(b"".join(parts[::-1])))
    wrong = UploadManifest("wrong-00001-of-00003.gguf", (len(parts[0]), len(parts[1]) - 8, 99))
    with pytest.raises(ModelError, match=r"wrong-00003-of-00003\.gguf is not a GGUF file"):
        await pulls.receive(wrong, pieces(b"".join(parts)))
    assert names(store) == ["tiny"]


def test_chosen_files_become_one_upload_for_each_model() -> None:
    chosen = [("b-00002-of-00002.gguf", 2), ("a.gguf", 9), ("b-00001-of-00002.gguf", 1)]
    assert group_uploads(chosen) == [
        (UploadManifest("a.gguf", (9,)), [1]),
        (UploadManifest("b-00001-of-00002.gguf", (1, 2)), [2, 0]),
    ]
    with pytest.raises(
        PullRefused, match=r"2 parts .* and b-00002-of-00002\.gguf is missing: choose"
    ):
        group_uploads(chosen[1:])
    many = [(f"c-{n:05d}-of-00009.gguf", 1) for n in (1, 2, 3)]
    with pytest.raises(PullRefused, match=r"c-00006-of-00009\.gguf and 3 more are missing"):
        group_uploads(many)
    with pytest.raises(PullRefused, match="are missing"):
        UploadManifest("c-00001-of-00009.gguf", (1,)).check()


async def test_uploads_that_will_not_do_leave_nothing(
    pulls: PullManager, store: ModelStore, gguf: bytes
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield gguf[:100_000]
        raise ConnectionResetError

    for given, size, sentence in (
        (pieces(b"PK" + gguf), None, "is not a GGUF file"),
        (pieces(gguf), len(gguf) + 1, "Only part"),
        (pieces(gguf), len(gguf) - 1, "More of"),
        (pieces(b""), None, "Only part"),
        (pieces(b""), 0, "is empty"),
        (pieces(gguf[:-1000]), None, "."),
        (broken(), len(gguf), "interrupted"),
        (pieces(gguf), 1 << 60, "no room"),
    ):
        with pytest.raises(ModelError, match=sentence):
            await pulls.receive(
                UploadManifest("tiny.gguf", None if size is None else (size,)), given
            )
        assert names(store) == []
        # What is refused before anything comes was never on its way.
        assert [pull.name for pull in pulls.all()] == ["tiny"]


@pytest.mark.parametrize("by_the_sender", [True, False])
async def test_an_upload_that_is_broken_off(
    pulls: PullManager, store: ModelStore, gguf: bytes, by_the_sender: bool
) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield gguf[:2000]
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(pulls.receive(UploadManifest("tiny.gguf", (len(gguf),)), endless()))
    await begun.wait()
    if by_the_sender:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    else:
        pulls.cancel("tiny")
        with pytest.raises(PullError, match="cancelled"):
            await task
    assert names(store) == []
    assert pulls.all() == []
    assert pulls.was_cancelled("tiny") is not by_the_sender


async def test_an_upload_whose_sender_leaves_at_the_end_is_installed(
    pulls: PullManager, store: ModelStore, gguf: bytes
) -> None:
    installing = asyncio.Event()

    def look() -> None:
        if any(pull.progress.stage == "installing" for pull in pulls.all()):
            installing.set()

    pulls.listeners.append(look)
    task = asyncio.create_task(
        pulls.receive(UploadManifest("tiny.gguf", (len(gguf),)), pieces(gguf))
    )
    await installing.wait()
    pull = pulls.get("tiny")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    if pull is not None:
        await ended(pull)
    assert names(store) == ["tiny"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 80 MB."""
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=80m", "tmpfs", str(folder)]
    if not mount or not unmount or subprocess.run([mount, *options], check=False).returncode != 0:
        pytest.skip("mounting a small disk is not allowed here")
    yield folder
    subprocess.run([unmount, str(folder)], check=True)


async def test_a_disk_that_fills_while_pulling(
    small_disk: Path, server: Stub, gguf: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First room is short before, then the length is unknown and the disk runs full."""
    store = ModelStore(small_disk / "models")
    store.root.mkdir()
    write_tiny_gguf(small_disk / "own.gguf")
    store.install(small_disk / "own.gguf", "own")
    pulls = PullManager(store)
    server.files[PATH] = bytes(30 << 20)
    pull = await ended(pulls.start(server.url + PATH))
    assert pull.error is not None
    assert "no room" in pull.error
    server.says_length = False
    pull = await ended(pulls.start(server.url + PATH, "untold"))
    assert pull.error is not None
    assert "no room" in pull.error
    monkeypatch.setattr("app.models.disk.RESERVED_BYTES", 0)
    server.files[PATH] = bytes(90 << 20)
    pull = await ended(pulls.start(server.url + PATH, "overfull"))
    assert pull.error is not None
    assert "no room" in pull.error
    with pytest.raises(PullError, match="no room"):
        await pulls.receive(
            UploadManifest("sent.gguf", None), pieces(b"GGUF" + bytes(90 << 20), 1 << 20)
        )
    assert [model.name for model in store.models()] == ["own"]
    assert {name for name in names(store) if not name.startswith(PARTIAL)} == {"own"}
    await pulls.close()
