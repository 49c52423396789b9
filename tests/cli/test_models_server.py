"""`wick models load, unload and default`, against a scripted server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from app.cli import models
from app.config import Settings
from app.errors import ModelError, ModelLoadError, ModelNotFound, PeerError
from app.models import engines
from app.models.store import ModelStore
from tests.cli.test_models import run
from tests.tiny_gguf import write_tiny_gguf


@dataclass
class Stub:
    """Answers POST and DELETE with `status` and `text`, and remembers path, Origin and Host."""

    port: int = 0
    status: int = 204
    text: str = ""
    kind: str = "text/plain; charset=utf-8"
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    reports: list[dict[str, Any]] = field(default_factory=list)
    """What it says of the model tiny, the last for ever."""


@pytest.fixture
def server() -> Iterator[Stub]:
    stub = Stub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            stub.asked.append((self.path, self.headers["Origin"], self.headers["Host"]))
            body = stub.text.encode()
            self.send_response(stub.status)
            self.send_header("Content-Type", stub.kind)
            if stub.status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self) -> None:
            if self.path != "/models/report" or not stub.reports:
                self.send_error(404)
                return
            now = stub.reports.pop(0) if len(stub.reports) > 1 else stub.reports[0]
            body = json.dumps({"models": [now], "budget": 1}).encode()
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def do_DELETE(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        stub.port = http.server_port
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield stub
        http.shutdown()
        thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_load_and_unload_ask_the_running_server(
    server: Stub, host: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(host=host, port=server.port, data_dir=tmp_path)
    assert run(settings, "load", "tiny") == 0
    assert run(settings, "unload", "tiny") == 0
    assert capsys.readouterr().out == "tiny is being loaded.\ntiny is unloaded.\n"
    here = f"127.0.0.1:{server.port}"
    assert server.asked == [
        (f"/models/tiny/{verb}", f"http://{here}", here) for verb in ("load", "unload")
    ]


def reported(state: str, line: str, **more: object) -> dict[str, object]:
    nothing = {"progress": None, "error": None, "speed": None, "memory": 0}
    return {"name": "tiny", "title": "Tiny", "state": state, "line": line, **nothing, **more}


def test_the_progress_of_a_load_is_shown_to_its_end(
    server: Stub, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "POLL_SECONDS", 0)
    settings = Settings(port=server.port)
    loading = [
        reported("loading", f"Loading {n} %", progress=n / 100) for n in (3, 7, 40, 44, 90, 100)
    ]
    waiting = reported("loading", "Waiting for memory: large is answering")
    server.reports = [waiting, *loading, reported("ready", "Ready", memory=400_000_000)]
    assert run(settings, "load", "tiny") == 0
    printed = capsys.readouterr()
    assert printed.out == "tiny is ready, with 400 MB of memory reserved.\n"
    assert printed.err.splitlines() == [
        "Waiting for memory: large is answering",
        *("Loading 3 %", "Loading 40 %", "Loading 90 %", "Loading 100 %"),
    ]
    server.reports = [loading[0], reported("failed", "Failed to load", error="No, sorry.")]
    with pytest.raises(ModelLoadError, match=r"^No, sorry\.$"):
        run(settings, "load", "tiny")
    server.reports = [loading[0], reported("idle", "Not loaded")]
    with pytest.raises(ModelLoadError, match="was unloaded before it was ready"):
        run(settings, "load", "tiny")


def test_the_list_shows_what_the_server_reports(
    server: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(models_dir=tmp_path / "models", port=server.port, model_memory_mb=1000)
    ModelStore(settings.models_dir).install(write_tiny_gguf(tmp_path / "tiny.gguf"))
    run(settings, "list")
    printed = capsys.readouterr().out
    assert "No Wick is running, so none is loaded." in printed
    assert "Speed" not in printed
    server.reports = [reported("ready", "Ready", speed=87.6, memory=400_000_000)]
    run(settings, "list")
    printed = capsys.readouterr().out
    for words in ("Now", "Ready", "88 tok/s", "Models may use 1.0 GB of the", "400 MB are res"):
        assert words in printed


def test_the_server_is_notified_of_an_import(server: Stub, tmp_path: Path) -> None:
    settings = Settings(models_dir=tmp_path / "models", port=server.port)
    source = str(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert run(settings, "import", source) == 0
    assert [path for path, *_ in server.asked] == ["/models/tiny/arrived"]
    server.status = 404  # it has another model store
    assert run(settings, "import", source, "--name", "other") == 0


def test_the_servers_sentence_is_the_error(server: Stub) -> None:
    server.status, server.text = 409, "tiny is answering, so it stays loaded."
    with pytest.raises(PeerError, match=r"^tiny is answering, so it stays loaded\.$"):
        run(Settings(port=server.port), "unload", "tiny")


def test_the_page_of_another_program_is_not_quoted(server: Stub) -> None:
    server.status, server.text, server.kind = 404, "<h1>Apache</h1>", "text/html"
    with pytest.raises(PeerError, match=r"did not do it \(status 404\): is it Wick\?"):
        run(Settings(port=server.port), "load", "tiny")


def test_loading_without_a_server_is_an_error(server: Stub) -> None:
    with pytest.raises(PeerError, match="No Wick is running at http:"):
        run(Settings(port=9), "load", "tiny")
    with pytest.raises(ModelNotFound):
        run(Settings(port=server.port), "load", "../chats")
    assert server.asked == []


def test_the_running_server_removes_a_model_and_sets_the_default(
    server: Stub, tmp_path: Path
) -> None:
    settings = Settings(models_dir=tmp_path / "models", port=server.port)
    store = ModelStore(settings.models_dir)
    store.install(write_tiny_gguf(tmp_path / "tiny.gguf"))
    run(settings, "default", "tiny")
    run(settings, "remove", "tiny")
    assert [path for path, *_ in server.asked] == ["/models/tiny/default", "/models/tiny"]
    assert store.default() is None  # that was the server's to do
    server.status, server.text = 409, "tiny is answering."
    with pytest.raises(PeerError, match="is answering"):
        run(settings, "remove", "tiny")
    assert store.get("tiny")
    server.status = 404  # it has another model store
    run(settings, "remove", "tiny")
    assert store.models() == []


def test_the_engine_is_shown_and_chosen(
    server: Stub,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engines, "installed_engines", lambda: engines.ENGINES)
    settings = Settings(models_dir=tmp_path / "models", port=9)
    ModelStore(settings.models_dir).install(write_tiny_gguf(tmp_path / "tiny.gguf"))
    run(settings, "engine", "tiny")
    run(settings, "engine", "tiny", "llama.cpp")
    run(settings, "engine", "tiny", "auto")
    assert capsys.readouterr().out.splitlines() == [
        "ctransformers (usually faster with models this small)",
        "llama.cpp (you chose it)",
        "ctransformers (usually faster with models this small)",
    ]
    with pytest.raises(SystemExit):
        run(settings, "engine", "tiny", "vllm")
    with pytest.raises(ModelNotFound):
        run(settings, "engine", "other")
    run(replace(settings, port=server.port), "engine", "tiny", "llama.cpp")
    assert [path for path, *_ in server.asked] == ["/models/tiny/engine/llama.cpp"]


def test_gpu_layers_are_shown_and_chosen(
    server: Stub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(models_dir=tmp_path / "models", port=9, gpu_layers=20)
    ModelStore(settings.models_dir).install(write_tiny_gguf(tmp_path / "tiny.gguf"))
    for layers in ((), ("8",), ("auto",), ("default",)):
        run(settings, "gpu", "tiny", *layers)
    assert capsys.readouterr().out.splitlines() == ["20 (default)", "8", "auto", "20 (default)"]
    with pytest.raises(ModelError, match="auto or a number"):
        run(settings, "gpu", "tiny", "half")
    run(replace(settings, port=server.port), "gpu", "tiny", "0")
    assert [path for path, *_ in server.asked] == ["/models/tiny/gpu/0"]


def test_the_default_is_written_to_the_model_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = Settings(models_dir=tmp_path / "models", port=9)  # where no server runs
    assert run(settings, "default") == 0
    with pytest.raises(ModelNotFound):
        run(settings, "default", "tiny")
    ModelStore(settings.models_dir).install(write_tiny_gguf(tmp_path / "tiny.gguf"))
    assert run(settings, "default", "tiny") == 0
    assert run(settings, "default") == 0
    assert capsys.readouterr().out == "smollm2-135m\nNew chats begin with tiny.\ntiny\n"
