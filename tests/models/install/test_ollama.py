"""Models of Ollama's library: its manifest, its blobs, and what may be wrong with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from app.errors import PullError
from app.models.install import install, ollama
from app.models.install.ollama import MODEL, fetch_ollama, read_manifest
from app.models.sources import OllamaSpec
from app.models.store import ModelStore
from tests.models.stub_server import Stub
from tests.tiny_gguf import write_tiny_gguf


@pytest.fixture
def registry(web: Stub, monkeypatch: pytest.MonkeyPatch) -> Stub:
    monkeypatch.setattr(ollama, "REGISTRY", web.url)
    return web


def layer(data: bytes, kind: str = MODEL) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(data)}


def publish(stub: Stub, data: bytes, *others: dict[str, Any]) -> None:
    base = "/v2/library/tiny"
    manifest = {"schemaVersion": 2, "layers": [layer(data), *others]}
    stub.files[f"{base}/manifests/1b"] = json.dumps(manifest).encode()
    blob = f"{base}/blobs/sha256:{hashlib.sha256(data).hexdigest()}"
    stub.redirects[blob] = f"{stub.url}/elsewhere"
    stub.files["/elsewhere"] = data


async def test_a_model_is_pulled_by_its_name(
    registry: Stub, store: ModelStore, tmp_path: Path
) -> None:
    data = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    publish(registry, data, layer(b"{}", "application/vnd.ollama.image.params"))
    model = await install.pull(install.resolve("ollama:tiny:1b", store), store, lambda _: None)
    assert (model.name, model.size) == ("tiny-1b", len(data))
    assert registry.sent_headers[0]["Accept"] == ollama.MANIFEST


async def test_a_blob_is_what_its_name_says(registry: Stub, tmp_path: Path) -> None:
    publish(registry, b"GGUF" + bytes(100))
    registry.files["/elsewhere"] = b"GGUF" + bytes(99) + b"1"
    with pytest.raises(PullError, match="Checksum mismatch"):
        await fetch_ollama(OllamaSpec("tiny", "1b"), tmp_path, lambda *_: None)


async def test_a_missing_model_in_the_ollama_registry_is_a_sentence(
    registry: Stub, tmp_path: Path
) -> None:
    with pytest.raises(PullError, match="Ollama's library has no tiny:latest"):
        await fetch_ollama(OllamaSpec("tiny"), tmp_path, lambda *_: None)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b'{"layers": 3}', b'{"layers": [{"digest": 1}]}', b"[" * 100_000],
)
def test_a_manifest_that_makes_no_sense(content: bytes) -> None:
    with pytest.raises(PullError, match="makes no sense"):
        read_manifest(content)


@pytest.mark.parametrize(
    "layers",
    [
        [],
        [layer(b"a", "application/vnd.ollama.image.license")],
        [layer(b"a"), layer(b"b")],
        [{"mediaType": MODEL, "digest": "sha256:../../etc/passwd", "size": 1}],
    ],
)
def test_a_manifest_names_one_file(layers: list[dict[str, Any]]) -> None:
    with pytest.raises(PullError, match="is not one GGUF file"):
        read_manifest(json.dumps({"layers": layers}).encode()).weights()
