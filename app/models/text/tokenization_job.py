"""Jobs of the process that tokenizes prompts and texts, and their results."""

from __future__ import annotations

import msgspec


class TokenizationJob(msgspec.Struct, kw_only=True):
    """One of these: command, a line of the runner's protocol whose prompt is built; text, which is
    tokenized, with a token before it that begins a text (adds_special) and names of special tokens
    read as such (parses_special); ids, which become text."""

    command: str | None = None
    text: str | None = None
    adds_special: bool = False
    parses_special: bool = False
    ids: list[int] | None = None


class TokenizationResult(msgspec.Struct, kw_only=True):
    """ids: of the prompt or text; pieces: the bytes of each token, special ones by their names;
    text: the prompt as text, or that of ids; error: a sentence, with its status."""

    ids: list[int] = []
    pieces: list[bytes] = []
    text: str = ""
    error: str = ""
    status: int = 0
