"""Metadata of a model, read from a file that is known to be sound."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.errors import ModelFileError
from app.models.gguf.engine_support import FileSupport
from app.models.gguf.header import Header
from app.models.model import Model, Turn
from app.models.text.chat_template import ChatTemplate, fallback_template
from app.models.text.tokenizer import Tokenizer, TokenizerSource

MIXTURES: Final = {
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    21: "Q2_K_S",
    22: "IQ3_XS",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    38: "MXFP4",
}
"""Names of mixtures of storage types, by the number that a file gives its own."""


def build_model(
    header: Header, support: FileSupport, folder: Path, tokenizer: TokenizerSource
) -> Model:
    """Build a model from its file's metadata; try its template with the vocabulary there."""
    title = _one_line(header.text("general.name"))
    return Model(
        name="",
        folder=folder,
        title=title,
        architecture=_one_line(header.text("general.architecture")),
        parameters=sum(tensor.elements for tensor in header.tensors),
        quantisation=quantisation(header),
        context_length=support.context_length,
        size=header.size,
        digest="",
        kv_bytes_per_token=support.kv.bytes_per_token,
        chat_template=_template(header, support, folder, title),
        license=_one_line(header.text("general.license")) or None,
        engines=support.engines,
        kind=support.kind,
        tokenizer=tokenizer,
        kv=support.kv,
    )


def quantisation(header: Header) -> str:
    """The storage type that most weights have, such as “Q4_K”."""
    kind = header.metadata.get("general.file_type")
    if isinstance(kind, int) and kind in MIXTURES:
        return MIXTURES[kind]
    blocks: dict[str, int] = {}
    others: dict[str, int] = {}
    for tensor in header.tensors:
        weights = blocks if tensor.name.startswith("blk.") else others
        if len(tensor.shape) > 1:
            weights[tensor.type.name] = weights.get(tensor.type.name, 0) + tensor.elements
    weights = blocks or others
    return max(weights, key=lambda kind: weights[kind], default="")


class _UnusedTokenizer:
    """Stands where a template is only rendered, and not tokenised."""

    def encode(self, text: str) -> list[int]:
        raise ModelFileError("This text can be tokenised only by the engine.")

    def token_bytes(self, index: int) -> bytes:
        raise ModelFileError("This token can be read only by the engine.")


def _template(header: Header, support: FileSupport, folder: Path, title: str) -> str:
    """The chat template of the file, or the likeliest one; empty for what is no chat model."""
    if support.kind != "text":
        return ""
    tokenizer = Tokenizer.load(folder, _UnusedTokenizer())
    called = f"{title} {header.path.name}"
    template = header.text("tokenizer.chat_template") or fallback_template(tokenizer, called)
    turns = [Turn("user", "Hello"), Turn("assistant", "Hello!"), Turn("user", "How are you?")]
    ChatTemplate(template, tokenizer).text(turns)
    return template


def _one_line(text: str | None) -> str:
    """Strip a text of characters that a terminal would take for a command."""
    shown = "".join(c for c in text or "" if c.isprintable() or c.isspace())
    return " ".join(shown.split())[:200]
