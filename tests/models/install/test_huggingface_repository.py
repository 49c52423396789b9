"""Repositories named as users write them: the quantization that fits is chosen, and said."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.errors import PullError
from app.models.install import huggingface, install
from app.models.install.huggingface import ModelFileEntry, choose, fetch_hub_repository, models_of
from app.models.install.progress import PullProgress
from app.models.sources import HubRepoSpec
from app.models.store import ModelStore
from tests.models.install.test_huggingface import COMMIT, hub, put
from tests.models.stub_server import Stub
from tests.tiny_gguf import write_tiny_gguf

__all__ = ["hub"]
GB = 10**9
NAMES = {
    "Qwen3-4B-Q2_K.gguf": 1.7,
    "Qwen3-4B-Q4_K_M.gguf": 2.5,
    "Qwen3-4B-UD-Q4_K_XL.gguf": 2.6,
    "Qwen3-4B-Q8_0.gguf": 4.3,
    "BF16/Qwen3-4B-BF16-00001-of-00002.gguf": 4.0,
    "BF16/Qwen3-4B-BF16-00002-of-00002.gguf": 4.0,
    "mmproj-F16.gguf": 0.6,
    "imatrix_unsloth.gguf": 0.1,
    "mtp-Qwen3-4B-Q8_0.gguf": 0.5,
    "Half-Q4_0-00001-of-00002.gguf": 1.0,
    "README.md": 0.1,
    "../Evil-Q4_K_M.gguf": 1.0,
}


def entries(names: dict[str, float] | None = None) -> list[ModelFileEntry]:
    listing = [
        {"rfilename": name, "size": int(size * GB)} for name, size in (names or NAMES).items()
    ]
    return models_of(decode(listing))


def decode(listing: list[dict[str, Any]]) -> Any:
    return msgspec.convert(listing, list[huggingface._File])


def choice(quantisation: str | None = None, gigabytes: float = 0) -> str:
    spec = HubRepoSpec("who/Qwen3-4B-GGUF", quantisation)
    return choose(spec, entries(), int(gigabytes * GB)).path


def test_only_whole_models_are_seen() -> None:
    found = {entry.path: entry.size for entry in entries()}
    assert found.keys() == {
        *("Qwen3-4B-Q2_K.gguf", "Qwen3-4B-Q4_K_M.gguf", "Qwen3-4B-UD-Q4_K_XL.gguf"),
        *("Qwen3-4B-Q8_0.gguf", "BF16/Qwen3-4B-BF16-00001-of-00002.gguf"),
    }
    assert found["BF16/Qwen3-4B-BF16-00001-of-00002.gguf"] == 8 * GB


@pytest.mark.parametrize(
    ("wanted", "gigabytes", "path"),
    [
        (None, 0, "Qwen3-4B-Q4_K_M.gguf"),
        (None, 16, "Qwen3-4B-Q4_K_M.gguf"),
        (None, 2.5, "Qwen3-4B-Q2_K.gguf"),
        ("q8_0", 1, "Qwen3-4B-Q8_0.gguf"),  # what was asked for need not fit
        ("Q4_K_XL", 0, "Qwen3-4B-UD-Q4_K_XL.gguf"),
        ("ud-q4_k_xl", 0, "Qwen3-4B-UD-Q4_K_XL.gguf"),
        ("BF16", 0, "BF16/Qwen3-4B-BF16-00001-of-00002.gguf"),
    ],
)
def test_the_quantization_that_is_chosen(wanted: str | None, gigabytes: float, path: str) -> None:
    assert choice(wanted, gigabytes) == path


def test_a_missing_or_too_large_quantization_is_a_sentence() -> None:
    with pytest.raises(PullError, match=r"has no Q5_K_M; it has BF16, Q2_K, Q4_K_M, Q8_0, UD-"):
        choice("Q5_K_M")
    with pytest.raises(PullError, match=r"has no Q4; it has"):
        choice("Q4")  # a tag is whole
    with pytest.raises(PullError, match=r"too large for this machine: .*\(Q2_K\) has 1\.7 GB"):
        choice(None, 2)
    with pytest.raises(PullError, match="holds no GGUF file"):
        choose(HubRepoSpec("a/b"), [], 0)


@pytest.mark.parametrize(
    ("name", "quantisation"),
    [
        ("gpt-oss-20b-mxfp4.gguf", "MXFP4"),
        ("gemma-4-E2B_q4_0-it.gguf", "Q4_0"),
        ("SmolLM3-Q4_K_M.gguf", "Q4_K_M"),
        ("a/B-IQ4_XS.gguf", "IQ4_XS"),
        ("nomic-embed-text-v1.5.Q8_0.gguf", "Q8_0"),
        ("model-f16.gguf", "F16"),
        ("model.gguf", ""),
    ],
)
def test_quantizations_are_read_from_names(name: str, quantisation: str) -> None:
    assert ModelFileEntry(name, 1).quantisation == quantisation


def list_files(stub: Stub, files: dict[str, bytes]) -> None:
    """What the hub's API says of the repository."""
    siblings = [
        {
            "rfilename": path,
            "size": len(data),
            "lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)},
        }
        for path, data in files.items()
    ]
    stub.files["/api/models/who/what"] = json.dumps({"sha": COMMIT, "siblings": siblings}).encode()
    for path, data in files.items():
        put(stub, path, data)


async def test_a_repository_is_pulled_by_its_name(
    hub: Stub, store: ModelStore, tmp_path: Path
) -> None:
    data = write_tiny_gguf(tmp_path / "tiny.gguf").read_bytes()
    list_files(hub, {"Tiny-Q8_0.gguf": data + bytes(5000), "Tiny-Q4_K_M.gguf": data})
    steps: list[PullProgress] = []
    model = await install.pull(install.resolve("hf.co/who/what", store), store, steps.append)
    assert (model.name, model.digest) == ("what", hashlib.sha256(data).hexdigest())
    assert model.original_paths[0].read_bytes() == data
    assert steps[-1].detail == "Q4_K_M"
    assert any(step.description.startswith("downloading Q4_K_M, ") for step in steps)
    assert ("HEAD", f"/who/what/resolve/{COMMIT}/Tiny-Q4_K_M.gguf", "") in hub.asked


async def test_answers_of_the_hub_are_checked(hub: Stub, tmp_path: Path) -> None:
    async def fetch() -> Path:
        spec = HubRepoSpec("who/what")
        return await fetch_hub_repository(
            spec, tmp_path, lambda *_: None, budget=0, chosen=lambda _: None
        )

    with pytest.raises(PullError, match="has none of that name"):
        await fetch()
    for answer in (b"", b"[]", b'{"siblings": [{"rfilename": 3}]}', b"[" * 100_000):
        hub.files["/api/models/who/what"] = answer
        with pytest.raises(PullError, match="makes no sense"):
            await fetch()
    list_files(hub, {"m-Q4_K_M.gguf": b"GGUF"})
    hub.headers[f"/who/what/resolve/{COMMIT}/m-Q4_K_M.gguf"]["X-Linked-Etag"] = '"' + "0" * 64 + '"'
    with pytest.raises(PullError, match="another file on the hub"):
        await fetch()
