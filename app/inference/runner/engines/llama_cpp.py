"""The engine of today's models: llama.cpp, one native context with many sequences.

All sequences share one pool of cells, so a beginning that several have in common is held once, and
one step evaluates tokens of many sequences together.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from app.inference.runner.engines.aside import can_evaluate_aside, evaluate_aside
from app.inference.runner.engines.engine import (
    CacheFull,
    Context,
    EngineError,
    GoOn,
    Logits,
    Slice,
    SliceRows,
    StepInterrupted,
)
from app.inference.runner.engines.llama_batches import BatchItem, ContextSize, RowsItem
from app.inference.runner.engines.llama_context import Checkpoints, LlamaCppContext
from app.inference.runner.engines.llama_native import NativeLlama
from app.inference.runner.engines.placement import LoadedLayers
from app.models.devices import CPU_ONLY, Placement

MAX_BATCH: Final = 512
"""Tokens of one step."""
MAX_OUTPUTS: Final = 32
"""Tokens of one slice whose logits may be wanted."""
MAX_WHOLE: Final = 8192
"""Tokens of a text that has to be in one step."""
AXES: Final = 4
"""Numbers in a position of a row, where it has several."""
MAX_CHECKPOINT_BYTES: Final = 256 << 20
MAX_STATE_BYTES: Final = 1 << 36
"""Of a saved state, whatever a file says."""


class LlamaCppEngine:
    """One GGUF file in memory. Raises ModelLoadError with the library's own reason.

    cells: positions that all contexts together may hold, at least `context_length`; contexts: there
    may be at once; kv_type: `f16` or `q8_0`; placement: layers on GPUs; progress:
    hears, while it is loaded, how much of it is, from 0 to 1.
    """

    max_outputs = MAX_OUTPUTS
    takes_rows = True
    is_reproducible = False  # its numbers depend on the shape of batches

    def __init__(
        self,
        weights: Path,
        context_length: int,
        progress: Callable[[float], None] = lambda done: None,
        *,
        contexts: int = 8,
        cells: int = 0,
        kv_type: str = "f16",
        placement: Placement = CPU_ONLY,
    ) -> None:
        self.context_length = context_length
        self.cells = max(cells, context_length)
        self.max_contexts = self.max_slices = contexts
        self.native = _load(weights, context_length, self.cells, progress, placement)
        try:
            self._open(kv_type)
        except BaseException:
            self.native.close()
            raise
        self.vocab_size = self.native.vocab_size
        self.embedding_size = self.native.embedding_size
        self.cuttable = self._cuttable()
        self.identity = self.native.identity + ("" if self.cuts_anywhere else " checkpoints")
        self.has_axes = self.native.has_axes
        """Whether a position of a picture has several axes, of which rows share the first."""
        self.identity += " axes" if self.has_axes else ""
        self.checkpoints = Checkpoints(MAX_CHECKPOINT_BYTES)
        self.scratch = LlamaCppContext(self, 0)
        """For copies in the making."""
        self._contexts = {0: self.scratch}
        self.lock = threading.RLock()
        """Held around every use of `native` and of what is known of it."""

    def _open(self, kv_type: str) -> None:
        sequences = self.max_contexts + 1
        self.max_slice = MAX_BATCH
        outputs = MAX_OUTPUTS + self.max_contexts
        size = ContextSize(self.cells, sequences, MAX_BATCH, outputs, MAX_OUTPUTS)
        self.native.open(size, kv_type)
        self.is_encoder = self.native.is_encoder
        self.reads_whole = self.native.reads_whole
        if self.reads_whole:
            self.context_length = min(self.context_length, MAX_WHOLE)
            self.max_slice = max(self.context_length, MAX_BATCH)
        if self.is_encoder or self.native.is_pooled:
            # The library's plan of a batch has as many tokens for each sequence.
            batch = -(-self.max_slice // sequences) * sequences
            cells = max(self.cells, batch)
            size = ContextSize(cells, sequences, batch, batch, batch, embeds=True)
            self.native.open(size, kv_type)

    def _cuttable(self) -> int:
        """Layers with a state of their own cannot be cut. In those that see a window, new tokens
        are written over old ones as soon as these have left it."""
        if self.native.is_recurrent:
            return 0
        return min(self.native.window or self.context_length, self.context_length)

    @property
    def cuts_anywhere(self) -> bool:
        """Tell whether contexts need no checkpoints."""
        return self.cuttable >= self.context_length

    # Steps.

    def evaluate(self, step: Sequence[Slice], threads: int) -> list[Logits]:
        with self.lock:
            contexts = self.checked(step)
            if step[0].rows is not None:
                return [self._evaluate_rows(contexts[0], step[0], step[0].rows, threads)]
            pairs = list(zip(contexts, step, strict=True))
            for context, part in pairs:
                if context.cut(part.past) != part.past:
                    raise EngineError("the model's state cannot be cut there")
            if self.native.is_pooled:
                return self._evaluate_pooled(pairs, threads)
            embedded = [pair for pair in pairs if pair[1].embedding]
            logits = self._evaluate_together(
                [pair for pair in pairs if not pair[1].embedding], threads
            )
            if embedded:
                logits = [found.copy() for found in logits]  # the next batch writes over them
                self._evaluate_embeddings(embedded, threads)
            waiting = iter(logits)
            nothing = self.native.logits(range(0))
            return [nothing if part.embedding else next(waiting) for part in step]

    def checked(self, step: Sequence[Slice]) -> list[LlamaCppContext]:
        """The contexts of a step that is whole and within bounds, else ValueError."""
        found = [self.own(part.context) for part in step]
        if len(set(found)) != len(found):
            raise ValueError("a step works on each context once")
        if not 1 <= sum(len(part.tokens) for part in step) <= self.max_slice:
            raise ValueError("a step has too few tokens, or too many")
        for part in step:
            count = len(part.tokens)
            if count < 1 or part.past < 0 or part.past + count > self.context_length:
                raise ValueError(f"{count} tokens after {part.past} do not fit")
            if not 0 <= part.outputs <= (0 if self.native.is_pooled else min(count, MAX_OUTPUTS)):
                raise ValueError(f"{part.outputs} outputs of {count} tokens are not to be had")
            if part.rows is not None:
                self._check_rows(step, part, part.rows)
            elif min(part.tokens) < 0 or max(part.tokens) >= self.vocab_size:
                raise ValueError("a token id lies outside the vocabulary")
        return found

    def _check_rows(self, step: Sequence[Slice], part: Slice, rows: SliceRows) -> None:
        """Raises ValueError for rows of another size, or beside anything else."""
        count = len(part.tokens)
        if len(step) != 1 or part.outputs or part.embedding or max(part.tokens) >= 0:
            raise ValueError("rows of a picture are a step of their own")
        if rows.values.shape != (count, self.native.row_width):
            raise ValueError("the rows of a picture have another width than the model's")
        if rows.place < 0 or rows.place + count > rows.total or rows.place > part.past:
            raise ValueError("a picture does not have so many rows")
        if not rows.is_causal and count != rows.total:
            raise ValueError("the rows of this picture must be evaluated together")
        if rows.axes is not None and rows.axes.shape != (AXES, rows.total):
            raise ValueError("the rows of a picture have no places")

    def _evaluate_rows(
        self, context: LlamaCppContext, part: Slice, rows: SliceRows, threads: int
    ) -> Logits:
        if context.cut(part.past) != part.past:
            raise EngineError("the model's state cannot be cut there")
        count, start = len(part.tokens), part.past - rows.place
        first = context.chunks.position(start)
        places = slice(rows.place, rows.place + count)
        if rows.axes is None:
            positions = np.arange(first, first + rows.total, dtype=np.int32)[None, places]
        else:
            positions = rows.axes[:, places] + np.array([[first]] * 3 + [[0]], np.int32)
        item = RowsItem(
            context.sequence,
            np.ascontiguousarray(positions, np.int32),
            np.ascontiguousarray(rows.values, np.float32),
            is_causal=rows.is_causal,
        )
        with self._clearing([context]):
            self.native.decode_rows(item, threads)
        context.chunks.add(start, rows.total, rows.positions)
        context.advance(part.past + count)
        return self.native.logits(range(0))

    def evaluate_aside(self, part: Slice, threads: int, go_on: GoOn | None = None) -> bool:
        context = self.own(part.context)
        if part.rows is None or not can_evaluate_aside(self, context, part.rows):
            return False
        with self._clearing([context]):
            evaluate_aside(self, part, part.rows, threads, go_on)
        return True

    def _evaluate_together(
        self, pairs: Sequence[tuple[LlamaCppContext, Slice]], threads: int
    ) -> list[Logits]:
        if not pairs:
            return []
        items = [
            BatchItem(
                context.sequence, context.chunks.position(part.past), part.tokens, part.outputs
            )
            for context, part in pairs
        ]
        self._decode(items, threads)
        end, found = 0, []
        for context, part in pairs:
            context.advance(part.past + len(part.tokens))
            end += len(part.tokens)
            found.append(self.native.logits(range(end - part.outputs, end)))
        return found

    def _decode(self, items: Sequence[BatchItem], threads: int) -> None:
        with self._clearing([self._contexts[item.sequence] for item in items]):
            self.native.decode(items, threads)

    @contextlib.contextmanager
    def _clearing(self, contexts: Sequence[LlamaCppContext]) -> Iterator[None]:
        """Clear these when it is not known any more what they hold."""
        try:
            yield
        except (CacheFull, StepInterrupted):
            raise
        except EngineError:
            for context in contexts:
                context.clear()
            raise

    def _evaluate_embeddings(
        self, pairs: Sequence[tuple[LlamaCppContext, Slice]], threads: int
    ) -> None:
        """Evaluate for embeddings. With them on, the library gives something for each token of a
        batch: so the last ones have a batch of their own."""
        early = [
            (context, Slice(context, part.tokens[:-1], part.past, outputs=0))
            for context, part in pairs
            if len(part.tokens) > 1
        ]
        self._evaluate_together(early, threads)
        ends = [(context, part.past + len(part.tokens)) for context, part in pairs]
        items = [
            BatchItem(context.sequence, context.chunks.position(end - 1), part.tokens[-1:], 1)
            for (context, end), (_, part) in zip(ends, pairs, strict=True)
        ]
        with self.native.embeddings():
            self._decode(items, threads)
            for place, (context, end) in enumerate(ends):
                context.advance(end)
                context.kept_embedding = self.native.embedding(context.sequence, place)

    def _evaluate_pooled(
        self, pairs: Sequence[tuple[LlamaCppContext, Slice]], threads: int
    ) -> list[Logits]:
        items = [
            BatchItem(context.sequence, part.past, part.tokens, len(part.tokens))
            for context, part in pairs
        ]
        self._decode(items, threads)
        for context, part in pairs:
            context.advance(0 if self.is_encoder else part.past + len(part.tokens))
            if part.embedding:
                context.kept_embedding = self.native.embedding(context.sequence)
        return [self.native.logits(range(0)) for _ in pairs]

    def interrupt(self) -> None:
        if self.cuttable:  # states of recurrent layers could not be taken back
            self.native.interrupt()

    # Contexts.

    def new_context(self) -> LlamaCppContext:
        with self.lock:
            free = set(range(self.max_contexts + 1)) - set(self._contexts)
            if not free:
                raise EngineError("no further context: the engine holds all it can")
            sequence = min(free)
            self._contexts[sequence] = LlamaCppContext(self, sequence)
            return self._contexts[sequence]

    def own(self, context: Context) -> LlamaCppContext:
        """Return the same, if it is open and one of ours; else ValueError."""
        if not isinstance(context, LlamaCppContext) or not self.is_open(context):
            raise ValueError("this context is closed, or another engine's")
        return context

    def is_open(self, context: LlamaCppContext) -> bool:
        return self._contexts.get(context.sequence) is context

    def forget(self, context: LlamaCppContext) -> None:
        del self._contexts[context.sequence]

    def has_cells(self, count: int) -> bool:
        """Tell whether so many are free for certain: shared ones are counted more than once."""
        return sum(context.held for context in self._contexts.values()) + count <= self.cells

    def is_state_size(self, size: int, count: int) -> bool:
        return 0 < size <= MAX_STATE_BYTES

    # The tokenizer, for vocabularies that Wick's own does not know. Any thread may use it.

    def encode(self, text: str) -> list[int]:
        """The ids of plain text. Never a special token, whatever the text says."""
        return self.native.tokenize(text, special=False)

    def token_bytes(self, token: int) -> bytes:
        """Bytes of an ordinary token; none outside the vocabulary."""
        return self.native.token_bytes(token) if 0 <= token < self.vocab_size else b""

    @property
    def loaded_layers(self) -> LoadedLayers:
        """Return what the library put on which device."""
        return self.native.loaded_layers

    def close(self) -> None:
        """Frees everything. No context may be in use."""
        with self.lock:
            self.native.close()


def _load(
    weights: Path,
    context_length: int,
    cells: int,
    progress: Callable[[float], None],
    placement: Placement,
) -> NativeLlama:
    """Load a model so that its positions turn as in a context of its own.

    Models with one set of rope factors for short and one for long contexts (Phi) take the long one
    where all cells together are more than they were trained for first: that is raised then.
    """
    native = NativeLlama(weights, progress, placement=placement)
    prefix = f"{native.metadata('general.architecture')}.rope.scaling"
    trained = native.metadata(f"{prefix}.original_context_length")
    if not trained.isdecimal() or native.metadata(f"{prefix}.type") == "yarn":
        return native
    if not context_length <= int(trained) < cells:
        return native
    native.close()
    numbers = {f"{prefix}.original_context_length": cells}
    return NativeLlama(weights, progress, numbers, placement)
