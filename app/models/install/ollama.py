"""Models of Ollama: manifests, which name blobs by their checksums, and downloads from its library.

The manifests are the same in the library and on the disk of somebody who has Ollama.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from app.errors import PullError
from app.models.install.progress import ProgressCallback
from app.models.sources import OllamaSpec

if TYPE_CHECKING:
    import httpx

REGISTRY: Final = "https://registry.ollama.ai"
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
MODEL: Final = "application/vnd.ollama.image.model"
PROJECTOR: Final = "application/vnd.ollama.image.projector"
MAX_MANIFEST_BYTES: Final = 1 << 20
DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})")


class Layer(msgspec.Struct):
    """One blob of a model. digest: `sha256:` and 64 hex digits; size: in bytes."""

    digest: str
    size: int = 0
    mediaType: str = ""  # noqa: N815 - as the registry writes it


class Manifest(msgspec.Struct):
    """The blobs of a model."""

    layers: list[Layer]

    def projector(self) -> tuple[str, int] | None:
        """SHA-256 and bytes of the file with which the model sees; None where it has none."""
        found = [layer for layer in self.layers if layer.mediaType == PROJECTOR]
        match = DIGEST.fullmatch(found[0].digest) if found else None
        return None if match is None else (match[1], max(0, found[0].size))

    def weights(self) -> tuple[str, int]:
        """SHA-256 and bytes of the GGUF file. Raises PullError unless there is exactly one."""
        found = [layer for layer in self.layers if layer.mediaType == MODEL]
        match = DIGEST.fullmatch(found[0].digest) if len(found) == 1 else None
        if match is None:
            raise PullError("This model of Ollama's library is not one GGUF file.")
        return match[1], max(0, found[0].size)


def read_manifest(content: bytes) -> Manifest:
    """Raises PullError."""
    try:
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, RecursionError) as error:
        raise PullError("This manifest of Ollama makes no sense.") from error


async def fetch_ollama(spec: OllamaSpec, folder: Path, notify: ProgressCallback) -> Path:
    """Download the weights into `folder` and return their path. Raises PullError or DiskFull."""
    # Here and not above: a client for HTTP, which manifests on the disk do not need.
    from app.models.install.download import RemoteFile, fetch_all
    from app.models.install.http_client import client, get_body, raise_for_status

    base, trusted = f"{REGISTRY}/v2/{spec.namespace}/{spec.model}", f"{REGISTRY}/"
    url, headers = f"{base}/manifests/{spec.tag}", {"Accept": MANIFEST}

    def check(response: httpx.Response) -> None:
        if response.status_code == 404:
            raise PullError(f"Ollama's library has no {spec.model}:{spec.tag}.")
        raise_for_status(response.status_code, url)

    async with await asyncio.to_thread(client) as web:
        content = await get_body(web, url, headers, trusted, MAX_MANIFEST_BYTES, check)
        manifest = read_manifest(content)
        blobs = {f"{spec.file}.gguf": manifest.weights()}
        if (projector := manifest.projector()) is not None:
            blobs[f"mmproj-{spec.file}.gguf"] = projector
        files = [
            RemoteFile(f"{base}/blobs/sha256:{sha}", name, {}, size or None, sha, trusted=trusted)
            for name, (sha, size) in blobs.items()
        ]
        return await fetch_all(web, files, [size for _, size in blobs.values()], folder, notify)
