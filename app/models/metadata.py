"""Metadata of a model, read from a file that is known to be sound."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from app.models.gguf.compatibility import Dimensions, quantisation
from app.models.gguf.header import Header
from app.models.model import Model, Turn
from app.models.text.chat_template import ChatTemplate, fallback_template
from app.models.text.tokenizer import Tokenizer

F16_BYTES: Final = 2
"""The engine keeps keys and values as 16-bit numbers."""


def build_model(header: Header, sizes: Dimensions, folder: Path) -> Model:
    """Build a model from its file's metadata; try its chat template with the tokenizer there."""
    tokenizer = Tokenizer.load(folder)
    title = _one_line(header.text("general.name"))
    called = f"{title} {header.path.name}"
    template = header.text("tokenizer.chat_template") or fallback_template(tokenizer, called)
    turns = [Turn("user", "Hello"), Turn("assistant", "Hello!"), Turn("user", "How are you?")]
    ChatTemplate(template, tokenizer).encode(turns)
    return Model(
        name="",
        folder=folder,
        title=title,
        architecture="llama",
        parameters=sum(tensor.elements for tensor in header.tensors),
        quantisation=quantisation(header),
        context_length=sizes.context_length,
        size=(folder / "model.gguf").stat().st_size,
        digest="",
        kv_bytes_per_token=2 * sizes.blocks * sizes.kv_width * F16_BYTES,
        chat_template=template,
        license=_one_line(header.text("general.license")) or None,
    )


def _one_line(text: str | None) -> str:
    """Strip a text of characters that a terminal would take for a command."""
    shown = "".join(c for c in text or "" if c.isprintable() or c.isspace())
    return " ".join(shown.split())[:200]
