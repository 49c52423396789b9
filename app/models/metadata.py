"""Metadata of a model, read from a file that is known to be sound."""

from __future__ import annotations

from pathlib import Path

from app.errors import ModelFileError
from app.models.gguf.compatibility import quantisation
from app.models.gguf.engine_support import FileSupport
from app.models.gguf.header import Header
from app.models.model import Model, Turn
from app.models.text.chat_template import ChatTemplate, fallback_template
from app.models.text.tokenizer import Tokenizer, TokenizerSource


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
