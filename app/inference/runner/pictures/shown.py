"""Pictures in the prompt of one sequence: which rows come next, and their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from app.inference.runner.engines.engine import EngineError, GoOn, Logits, SliceRows
from app.inference.runner.pictures.encoder import PictureEncoder, PictureSpan


class ShownPictures:
    """Used by one thread at a time. Making one raises PromptRefused for rows that nobody knows.

    `past`: how many positions of the prompt are read.
    """

    def __init__(self, encoder: PictureEncoder | None, prompt: Sequence[int]) -> None:
        self._encoder = encoder
        self._spans = [] if encoder is None else encoder.spans(prompt)
        self._rows: tuple[PictureSpan, Logits] | None = None

    def span(self, past: int) -> PictureSpan | None:
        """Find the chunk of which a row comes next."""
        if not self._spans:
            return None
        return next((span for span in self._spans if span.start <= past < span.end), None)

    def around(self, place: int) -> PictureSpan | None:
        """Find the chunk that has rows on both sides of a place."""
        return next((span for span in self._spans if span.start < place < span.end), None)

    def text_end(self, past: int, end: int) -> int:
        """Find the end of the text that comes next: `end`, or the next picture."""
        return min(end, *(span.start for span in self._spans if span.start > past), end)

    def is_awaited(self, past: int) -> bool:
        """Tell whether some picture is not read to its end."""
        return bool(self._spans) and self._spans[-1].end > past

    def needs_encoding(self, past: int) -> bool:
        """Tell whether rows come next that nobody has computed, or kept."""
        return (span := self.span(past)) is not None and not self._has(span)

    def encode(self, past: int, threads: int, go_on: GoOn | None) -> None:
        """Compute the rows that come next. Raises PromptRefused, EngineError, StepInterrupted."""
        if (span := self.span(past)) is not None and self._encoder is not None:
            self._rows = span, self._encoder.encode(span.rows, threads, go_on)

    def rows(self, span: PictureSpan, past: int, end: int) -> SliceRows:
        """Cut the rows from `past` on: up to `end`, or to the end of what must be read at once.

        Raises EngineError where they were not computed.
        """
        if not self._has(span) or self._rows is None:
            raise EngineError("a picture was not encoded")
        rows = span.rows
        end = min(end, span.end) if rows.is_causal else span.end
        place = past - span.start
        return SliceRows(
            self._rows[1][place : place + end - past],
            place,
            len(rows.ids),
            rows.positions,
            rows.axes,
            is_causal=rows.is_causal,
        )

    def _has(self, span: PictureSpan) -> bool:
        if self._rows is not None and self._rows[0] is span:
            return True
        known = None if self._encoder is None else self._encoder.find(span.rows)
        self._rows = None if known is None else (span, known)
        return known is not None
