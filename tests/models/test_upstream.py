"""Models of other servers in the store, and how those servers list what they have."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.config import Settings, load_settings, read_secret
from app.errors import ModelError, ModelFileError
from app.inference.remote.health import HealthResult, check, error_detail
from app.models import memory
from app.models.model import ModelSettings
from app.models.store import ModelStore
from app.models.upstream import RemoteModel, Upstream, full_url
from tests.inference.remote.stub import MODEL, Call, serving
from tests.tiny_gguf import write_tiny_gguf

GPU = Upstream("http://gpu:8000", "qwen")


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "models")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://gpu:8000", "http://gpu:8000/v1"),
        (" HTTPS://API.Example.org/v1/ ", "https://api.example.org/v1"),
        ("http://[::1]:8080/v1", "http://[::1]:8080/v1"),
        ("https://example.org/api/v1/chat/completions", "https://example.org/api/v1"),
    ],
)
def test_an_address_is_completed(text: str, url: str) -> None:
    assert full_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpu:8000",
        "ftp://gpu/v1",
        "file:///etc/passwd",
        "http://",
        "http://user:secret@gpu/v1",
        "http://gpu/v1?key=secret",
        "http://gpu/v1#x",
        "http://gpu:99999/v1",
        "http://gpu:8000/v1\nHost: x",
        "http://gp\u00fc/v1",
        "http://" + "a" * 600,
    ],
)
def test_an_invalid_address_is_a_sentence(text: str) -> None:
    with pytest.raises(ModelError) as caught:
        full_url(text)
    assert "secret" not in str(caught.value)


def test_a_model_of_a_server_is_kept_and_read(store: ModelStore) -> None:
    made = store.add_remote("qwen", [replace(GPU, key_env="GPU_KEY", parallel=8)], title="Qwen")
    assert store.get("qwen") == made == store.models()[0]
    assert made.remote == RemoteModel((Upstream("http://gpu:8000/v1", "qwen", "GPU_KEY", 8),))
    assert (made.title, made.size, made.context_length) == ("Qwen", 0, 4096)
    assert made.remote.external_hosts == ("gpu:8000",)
    assert [path.name for path in (store.root / "qwen").iterdir()] == ["remote.json"]
    store.save_settings("qwen", ModelSettings(system_prompt="Be brief."))
    store.set_default("qwen")
    assert store.get("qwen").settings.system_prompt == "Be brief."
    store.remove("qwen")
    assert store.models() == []


def test_the_same_name_again_adds_a_server(store: ModelStore) -> None:
    store.add_remote("qwen", [GPU], context=9000, title="Qwen")
    other = Upstream("http://localhost:8080", "qwen.gguf")
    model = store.add_remote("qwen", [other])
    assert model.remote is not None
    assert [upstream.host for upstream in model.remote.upstreams] == ["gpu:8000", "localhost:8080"]
    assert model.remote.external_hosts == ("gpu:8000",)
    assert (model.title, model.context_length) == ("Qwen", 9000)
    model = store.add_remote("qwen", [replace(GPU, parallel=2)])
    assert model.remote is not None
    assert [upstream.parallel for upstream in model.remote.upstreams] == [2, 4]


def test_a_refused_file_leaves_the_store_as_it_was(store: ModelStore, tmp_path: Path) -> None:
    store.install(write_tiny_gguf(tmp_path / "tiny.gguf"), "tiny")
    wrong: list[tuple[str, Upstream, int | None]] = [
        ("tiny", GPU, None),
        ("../qwen", GPU, None),
        ("qwen", replace(GPU, url="gpu"), None),
        ("qwen", replace(GPU, model=" "), None),
        ("qwen", replace(GPU, key_env="sk-123"), None),
        ("qwen", replace(GPU, parallel=0), None),
        ("qwen", GPU, 3),
    ]
    for name, upstream, context in wrong:
        with pytest.raises(ModelError):
            store.add_remote(name, [upstream], context=context)
    assert [model.name for model in store.models()] == ["tiny"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        '{"format": 2}',
        '{"format": 1, "title": "x", "context": null, "found": null, "upstreams": []}',
        '{"format": 1, "title": "x", "context": null, "found": null, "upstreams": [{"url": 1}]}',
        '{"format": 1, "title": "x", "context": null, "found": null, '
        '"upstreams": [{"url": "file:///x", "model": "m"}]}',
        '{"format": 1, "title": "x", "context": "many", "found": null, '
        '"upstreams": [{"url": "http://gpu", "model": "m"}]}',
    ],
)
def test_a_damaged_entry_is_a_sentence_and_can_go(store: ModelStore, text: str) -> None:
    store.add_remote("qwen", [GPU])
    (store.root / "qwen/remote.json").write_text(text)
    with pytest.raises(ModelFileError, match="The model qwen "):
        store.get("qwen")
    assert store.damaged()[0][0] == "qwen"
    store.remove("qwen")


def test_a_remote_model_takes_no_memory_here_and_no_window_from_here(store: ModelStore) -> None:
    model = store.add_remote("qwen", [GPU], context=100_000)
    settings = Settings(context=512, model_memory_mb=1)
    memory.check_fits(model, settings, 0)
    assert memory.preferred_bytes(model, settings) == 0
    assert memory.context_length(model, settings) == 100_000
    chosen = replace(model, settings=ModelSettings(context_length=2000))
    assert memory.context_length(chosen, settings) == 2000


def test_the_context_that_servers_report_is_kept(store: ModelStore) -> None:
    model = store.add_remote("qwen", [GPU])
    assert model.remote is not None
    store.save_context("qwen", replace(model.remote, found=32768))
    assert store.get("qwen").context_length == 32768
    store.save_context("qwen", RemoteModel((), found=1000))  # of other servers, by now
    assert store.add_remote("qwen", [GPU], context=8000).context_length == 8000


def test_keys_are_read_when_they_are_needed_and_are_no_settings(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("WICK_KEY_GPU= from-file \nWICK_PORT=8001\n")
    assert load_settings({"WICK_KEY_GPU": "x"}, dotenv).port == 8001
    assert read_secret("WICK_KEY_GPU", {}, dotenv) == "from-file"
    assert (
        read_secret("WICK_KEY_GPU", {"WICK_KEY_GPU": "from-environment"}, dotenv)
        == "from-environment"
    )
    assert read_secret("WICK_KEY_NONE", {}, dotenv) == read_secret("X", {}, None) == ""


LISTS: dict[str, tuple[object, HealthResult]] = {
    "vllm": ({"data": [MODEL]}, HealthResult(context=8192)),
    "llama-server": (
        {
            "data": [
                {
                    "id": "/models/x.gguf",
                    "owned_by": "llamacpp",
                    "meta": {"n_ctx": 4096, "n_ctx_train": 131072},
                }
            ]
        },
        HealthResult(context=4096),
    ),
    "ollama": ({"data": [{"id": "stub:latest", "owned_by": "library"}]}, HealthResult()),
    "others": ({"data": [{"id": "a"}, {"id": "b"}]}, HealthResult(others=("a", "b"))),
    "nonsense in it": ({"data": [{"id": "stub", "max_model_len": "many"}, 7]}, HealthResult()),
}


@pytest.mark.parametrize("name", LISTS)
async def test_lists_of_real_servers_are_understood(name: str) -> None:
    async with serving() as stub:
        stub.models, found = LISTS[name]
        assert await check(Upstream(stub.url, "stub")) == found
        assert stub.looks[0].path == "/v1/models"


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (200, {"models": []}, "no server with OpenAI's protocol"),
        (200, "[" * 5000, "no server with OpenAI's protocol"),
        (401, {"error": {"message": "bad key"}}, "wants a key"),
        (302, {}, "does not follow"),
        (503, {"error": {"message": "Loading model"}}, "is not ready: Loading model"),
    ],
)
async def test_an_unusable_server_is_reported_in_a_sentence(
    status: int, body: Any, words: str
) -> None:
    async with serving() as stub:
        stub.models, stub.models_status = body, status
        found = await check(Upstream(stub.url, "stub"))
        assert words in found.problem
        assert len(stub.looks) == 1  # nothing was followed


async def test_a_server_without_a_list_counts_as_ready() -> None:
    async with serving() as stub:
        stub.models_status = 404
        assert await check(Upstream(stub.url, "stub")) == HealthResult()


async def test_a_search_of_folders_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Can't reach" in (await check(Upstream("http://127.0.0.1:9/v1", "m"))).problem
    missing = Upstream("http://127.0.0.1:9/v1", "m", "WICK_KEY_NOWHERE")
    assert "WICK_KEY_NOWHERE" in (await check(missing)).problem

    async def endless(call: Call) -> None:
        await call.head(200, {"Content-Type": "application/json"})
        while not call.gone.is_set():
            await call.raw(b" " * 65536)

    async def silent(call: Call) -> None:
        await call.gone.wait()

    async with serving() as stub:
        monkeypatch.setattr(Call, "json", lambda call, *_: endless(call))
        assert "no server" in (await check(Upstream(stub.url, "m"))).problem
        monkeypatch.setattr(Call, "json", lambda call, *_: silent(call))
        found = await check(Upstream(stub.url, "m"), seconds=0.1)
        assert "has not answered within 0.1 seconds" in found.problem


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"error": {"message": "no such model."}}', ": no such model"),
        (b'{"error": "plain"}', ": plain"),
        (b'{"object": "error", "message": "old vLLM", "code": 404}', ": old vLLM"),
        (b"<html><body>502</body></html>", ""),
        (b"", ""),
        (b"a\x1b[31mb\xff", ": a [31mb\ufffd"),
        (b"x" * 1000, ": " + "x" * 199 + "\u2026"),
    ],
)
def test_errors_of_servers_are_quoted_safely(body: bytes, words: str) -> None:
    assert error_detail(body) == words


def test_the_file_holds_no_key(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_KEY", "s3cret")
    store.add_remote("qwen", [replace(GPU, key_env="GPU_KEY")])
    text = (store.root / "qwen/remote.json").read_text()
    assert "s3cret" not in text
    assert json.loads(text)["upstreams"][0]["key_env"] == "GPU_KEY"


def test_whether_a_model_takes_pictures_is_kept(tmp_path: Path) -> None:
    store = ModelStore(tmp_path)
    assert not store.add_remote("qwen", [GPU]).sees
    assert store.add_remote("qwen", [GPU], sees=True).sees
    assert store.add_remote("qwen", [replace(GPU, parallel=2)]).sees
    assert store.get("qwen").sees
