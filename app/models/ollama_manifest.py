"""Manifests of Ollama, in its registry and on the disk: which blobs make a model."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from app.errors import PullError

MODEL: Final = "application/vnd.ollama.image.model"
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
