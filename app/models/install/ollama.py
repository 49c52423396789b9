"""Downloads models from Ollama's library: a manifest that names blobs by their checksums."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import httpx

from app.errors import PullError
from app.models.install.download import RemoteFile, client, connection_error
from app.models.install.http_client import follow, raise_for_status, read_body
from app.models.install.progress import ProgressCallback
from app.models.install.web import fetch_all
from app.models.ollama_manifest import MAX_MANIFEST_BYTES, Manifest, read_manifest
from app.models.sources import OllamaSpec

REGISTRY: Final = "https://registry.ollama.ai"
MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"


async def fetch_ollama(spec: OllamaSpec, folder: Path, notify: ProgressCallback) -> Path:
    """Download the weights into `folder` and return their path. Raises PullError or DiskFull."""
    base = f"{REGISTRY}/v2/{spec.namespace}/{spec.model}"
    async with await asyncio.to_thread(client) as web:
        sha256, size = (await _manifest(web, f"{base}/manifests/{spec.tag}", spec)).weights()
        name = f"{spec.file}.gguf"
        blob = RemoteFile(
            f"{base}/blobs/sha256:{sha256}", name, {}, size or None, sha256, trusted=f"{REGISTRY}/"
        )
        return await fetch_all(web, [blob], [size], folder, notify)


async def _manifest(web: httpx.AsyncClient, url: str, spec: OllamaSpec) -> Manifest:
    try:
        async with follow(web, url, {"Accept": MANIFEST}, f"{REGISTRY}/") as response:
            if response.status_code == 404:
                raise PullError(f"Ollama's library has no {spec.model}:{spec.tag}.")
            raise_for_status(response.status_code, url)
            return read_manifest(await read_body(response, MAX_MANIFEST_BYTES))
    except httpx.HTTPError as error:
        raise connection_error(error) from error
