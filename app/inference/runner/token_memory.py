"""Remembers how the model itself spelled its answers in tokens.

The same text can be cut into tokens in many ways, and a model does not always choose the
tokenizer's. Retokenised, an answer would part from the KV cache that still holds it; remembered,
a chat goes on exactly where it stood.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from tokenizers import Tokenizer as FastTokenizer

from app.inference.runner.kv.snapshot import TokenRuns
from app.models.text.tokenizer import NativeTokenizer, Tokenizer, Vocabulary

MAX_STORED: Final = 500_000
"""Tokens of all answers that are remembered: about 25 MB of memory."""
BYTES_PER_ENTRY: Final = 16
"""Tokens that an answer counts for beside its own: it takes room, however short it is."""
_MAX_PREFIX_TOKENS = 4096  # tokens between the last special token and the answer


class StableTokenizer(Tokenizer):
    """Tokenizer whose `encode` gives an answer's text the ids it was generated with."""

    def __init__(self, fast: FastTokenizer | NativeTokenizer, vocabulary: Vocabulary) -> None:
        super().__init__(fast, vocabulary)
        self._answers: OrderedDict[str, tuple[int, ...]] = OrderedDict()
        self._texts: dict[tuple[int, ...], str] = {}
        self._stored_bytes = 0
        self._lock = threading.Lock()

    def remember(self, prompt: Sequence[int], answer: Sequence[int], text: str) -> None:
        """Remember that `answer`, the ids that followed `prompt`, was sent out as `text`.

        The next prompt of the chat holds the answer in one run with what the template wrote before
        it, such as "assistant\n", back to the nearest special token.
        """
        spelled = b"".join(map(self.token_bytes, answer)).decode("utf-8", "replace")
        # Part of a stop string or of a character may be missing, and special ids never return:
        # text must not bring them back.
        if not text or spelled != text or not self.special_ids.isdisjoint(answer):
            return
        opening = self._after_last_special(prompt)
        if opening is None:
            return
        before = self._text_of(opening)
        if before is not None:
            self._store(before + text, [*opening, *answer])

    def remember_calls(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        """Remember an answer that calls tools, which a template writes back with its markup; each
        run of text between special tokens by itself."""
        before: list[int] | None = self._after_last_special(prompt)
        run: list[int] = []
        for token in (*answer, *sorted(self.special_ids)[:1]):
            if token not in self.special_ids:
                run.append(token)
                continue
            spelled = b"".join(map(self.token_bytes, run))
            start = "" if before is None else self._text_of(before)
            if run and before is not None and start is not None:
                self._store(start + spelled.decode("utf-8", "replace"), [*before, *run])
            before, run = [], []

    def encode(self, text: str) -> list[int]:
        with self._lock:
            known = self._answers.get(text)
            if known is not None:
                self._answers.move_to_end(text)
                return list(known)
        return super().encode(text)

    def forgetful(self) -> Tokenizer:
        """Return the tokenizer without what it remembers."""
        return Tokenizer(self._fast, self._vocabulary)

    def token_runs(self, ids: Sequence[int]) -> TokenRuns:
        """Return the remembered answers within a chat's `ids`, to be kept with its KV cache."""
        with self._lock:
            known = {run: self._texts.get(run) for run in self._between_specials(ids)}
        return tuple((text, run) for run, text in known.items() if text)

    def import_runs(self, runs: TokenRuns) -> dict[str, list[int]]:
        """Import the result of `token_runs`, perhaps of another process; return the valid ones by
        text.
        """
        right = {text: list(ids) for text, ids in runs if self._is_valid_run(ids, text)}
        for text, ids in right.items():
            self._store(text, ids)
        return right

    def _is_valid_run(self, ids: Sequence[int], text: str) -> bool:
        """Tell whether ids from a file stand for this text, and for nothing it may not contain."""
        if not all(0 <= token < self.vocab_size and token not in self.special_ids for token in ids):
            return False
        said = b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
        return text in (said, said[1:])

    def _store(self, text: str, ids: list[int]) -> None:
        run = tuple(ids)
        with self._lock:
            self._drop(text)
            self._answers[text] = run
            self._texts[run] = text
            self._stored_bytes += len(run) + BYTES_PER_ENTRY
            while self._stored_bytes > MAX_STORED:
                self._drop(next(iter(self._answers)))

    def _drop(self, text: str) -> None:
        """Drop a run; the caller has the lock."""
        run = self._answers.pop(text, None)
        if run is not None:
            self._stored_bytes -= len(run) + BYTES_PER_ENTRY
            if self._texts.get(run) == text:
                del self._texts[run]

    def _between_specials(self, ids: Sequence[int]) -> Iterator[tuple[int, ...]]:
        places = [i for i, token in enumerate(ids) if token in self.special_ids]
        for start, end in pairwise([-1, *places, len(ids)]):
            if end - start > 1:
                yield tuple(ids[start + 1 : end])

    def _after_last_special(self, prompt: Sequence[int]) -> list[int] | None:
        for size in range(min(len(prompt), _MAX_PREFIX_TOKENS)):
            if prompt[-1 - size] in self.special_ids:
                return list(prompt[len(prompt) - size :])
        return None

    def _text_of(self, ids: Sequence[int]) -> str | None:
        """Find the text that is tokenised to `ids`; some tokenizers add a space before it."""
        text = b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")
        return next((t for t in (text, text[1:]) if self.encode(t) == list(ids)), None)
