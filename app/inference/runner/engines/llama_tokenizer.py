"""llama.cpp's tokenizer, for vocabularies that Wick's own does not know."""

from __future__ import annotations

from app.inference.runner.engines.llama_cpp import LlamaCppEngine


class LlamaTokenizer:
    """Tokenizer of a loaded model. Any thread may use it."""

    def __init__(self, engine: LlamaCppEngine) -> None:
        self._engine = engine

    def encode(self, text: str) -> list[int]:
        """The ids of plain text. Never a special token, whatever the text says."""
        return self._engine.tokenize(text, special=False)

    def token_bytes(self, index: int) -> bytes:
        """What an ordinary token adds to an answer."""
        return self._engine.token_bytes(index)
