"""One model and its native context in llama.cpp's library: the calls, without any policy.

Nothing here is safe for threads, and little of it checks what it is given: its one caller is
`app/inference/runner/engines/llama_cpp.py`.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from ctypes import (
    CDLL,
    addressof,
    c_char,
    c_float,
    c_int32,
    c_void_p,
    cast,
    create_string_buffer,
)
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np

from app.errors import ModelLoadError
from app.inference.runner.engines.engine import (
    CacheFull,
    EngineError,
    Logits,
    State,
    StepInterrupted,
)
from app.inference.runner.engines.llama_batches import (
    BatchArrays,
    BatchItem,
    ContextSize,
    EmbeddingMarks,
    RowsItem,
)
from app.inference.runner.engines.llama_library import (
    FLASH_AUTO,
    FLASH_ON,
    KV_TYPES,
    LOG,
    PARTIAL_STATE,
    POOLING_LAST,
    POOLING_MEAN,
    POOLING_NONE,
    POOLING_RANK,
    ROPE_WITH_AXES,
    VOCABULARY_WORD_PIECES,
    ContextParams,
    MetadataOverride,
    ProgressCallback,
    library_identity,
    load_library,
)
from app.inference.runner.engines.placement import DEVICE_LINES, LoadedLayers, NativePlacement
from app.models.devices import CPU_ONLY, Placement

log = logging.getLogger(__name__)

LAST_TOKEN_RERANKERS: Final = ("qwen3", "qwen3vl")
"""Architectures whose rank is that of the last token; with others it is the first one's."""

NO_CELLS: Final = 1
INTERRUPTED: Final = 2
"""What llama_decode answers when the pool is full, and when it was interrupted."""


class NativeLlama:
    """A loaded GGUF file. Raises ModelLoadError with the library's own reason.

    numbers: in place of what the file says; placement: layers on other devices than the CPU;
    vocab_only: without its weights, so it evaluates nothing.
    """

    def __init__(
        self,
        weights: Path,
        progress: Callable[[float], None],
        numbers: Mapping[str, int] = MappingProxyType({}),
        placement: Placement = CPU_ONLY,
        *,
        vocab_only: bool = False,
    ) -> None:
        self._log = LOG
        self._log.clear()
        self._lib = load_library()
        self._lib.llama_backend_init()
        self._handle: int | None = None
        self._is_twin = False
        self._vocab_only = vocab_only
        self._interruption = bytearray(2)
        self._memory: int | None = None
        self._threads = 0
        self._model: int | None = self._load(weights, progress, numbers, placement)
        self._vocabulary: int = self._lib.llama_model_get_vocab(self._model)
        self.vocab_size: int = self._lib.llama_vocab_n_tokens(self._vocabulary)
        self.window: int = self._lib.llama_model_n_swa(self._model)
        """Tokens that some of its layers see at most; 0 where all see everything."""
        rope: int = self._lib.llama_model_rope_type(self._model)
        self.has_axes = rope >= 0 and bool(rope & ROPE_WITH_AXES)
        self.is_recurrent = bool(
            self._lib.llama_model_is_recurrent(self._model)
            or self._lib.llama_model_is_hybrid(self._model)
        )

    def _load(
        self,
        weights: Path,
        progress: Callable[[float], None],
        numbers: Mapping[str, int],
        placement: Placement,
    ) -> int:
        params = self._lib.llama_model_default_params()
        native = NativePlacement(self._lib, placement)  # must live as long as the load
        native.apply(params)

        def on_progress(done: float, _: object) -> bool:
            progress(done)
            return True

        overrides = (MetadataOverride * (len(numbers) + 1))()  # the last one has no key
        for override, (key, value) in zip(overrides, numbers.items(), strict=False):
            override.key, override.value = key.encode(), value
        params.kv_overrides = cast(overrides, c_void_p) if numbers else None
        notify = ProgressCallback(on_progress)  # must live as long as the load
        params.progress_callback = cast(notify, c_void_p)
        params.vocab_only = self._vocab_only
        with self._log.watched(DEVICE_LINES) as lines:
            model: int | None = self._lib.llama_model_load_from_file(bytes(weights), params)
        self._placement, self._load_lines = placement, lines
        if not model:
            raise ModelLoadError(f"The engine cannot load this model: {self._log.reason()}")
        return model

    @property
    def handle(self) -> int | None:
        """Address of the model, for others of the library's functions."""
        return self._model

    @property
    def row_width(self) -> int:
        """Numbers in a row of a picture."""
        width: int = self._lib.llama_model_n_embd_inp(self._model)
        return width

    def metadata(self, key: str) -> str:
        """A number or a text of the file's header; empty where there is none."""
        buffer = create_string_buffer(128)
        length = self._lib.llama_model_meta_val_str(self._model, key.encode(), buffer, 128)
        return buffer.value.decode("utf-8", "replace") if length >= 0 else ""

    # The native context.

    def twin(self) -> NativeLlama:
        """Share the weights with another native context, which must be closed first."""
        twin = copy.copy(self)
        twin._handle = twin._memory = None
        twin._interruption = bytearray(2)
        twin._is_twin = True
        return twin

    def open(self, size: ContextSize, kv_type: str, callback: int | None = None) -> None:
        """Makes the native context, in place of an earlier one; with f16 where the model's heads
        do not fit `kv_type`. callback: of an `OperationGate`. Raises ModelLoadError."""
        self._free_context()
        for name in dict.fromkeys((kv_type, "f16")):
            self._log.clear()
            params = self._params(size, name)
            params.cb_eval = callback
            with self._log.watched(DEVICE_LINES) as lines:
                self._handle = self._lib.llama_init_from_model(self._model, params)
            if self._handle:
                break
            log.warning("There is no context with %s: %s", name, self._log.reason())
        else:
            raise ModelLoadError(f"The engine cannot make a context: {self._log.reason()}")
        self.loaded_layers = LoadedLayers.read([*self._load_lines, *lines], self._placement)
        self.kv_type = name
        self.identity = f"{library_identity()} {name}"
        self._memory = self._lib.llama_get_memory(self._handle)
        # It asks before each of some hundred operations of a step whether to go on, which must not
        # take the interpreter: the length of a text that is empty, or of one byte, is the answer.
        flag = (c_char * 2).from_buffer(self._interruption)
        self._lib.llama_set_abort_callback(self._handle, _strlen(), addressof(flag))
        self.pooling: int = self._lib.llama_pooling_type(self._handle)
        is_rank = self.pooling == POOLING_RANK
        self.embedding_size = (
            self._lib.llama_model_n_cls_out if is_rank else self._lib.llama_model_n_embd_out
        )(self._model)
        self._arrays = BatchArrays(size.batch, size.sequences)
        self._threads = 0

    def _params(self, size: ContextSize, kv_type: str) -> ContextParams:
        params: ContextParams = self._lib.llama_context_default_params()
        params.n_ctx = size.cells
        params.n_batch = params.n_ubatch = size.batch
        params.n_seq_max = size.sequences
        params.n_outputs_max = size.outputs
        params.n_outputs_max_per_seq = size.outputs_of_one
        params.kv_unified = True
        params.embeddings = size.embeds
        if size.embeds and self.pooling == POOLING_NONE:
            params.pooling_type = POOLING_MEAN  # an encoder whose file does not say
        params.type_k = params.type_v = KV_TYPES[kv_type]
        params.flash_attn_type = FLASH_AUTO if kv_type == "f16" else FLASH_ON
        return params

    @property
    def is_encoder(self) -> bool:
        """Tell whether it keeps nothing of a text, and must see it whole."""
        return not self._memory

    @property
    def is_pooled(self) -> bool:
        """Tell whether it makes one embedding of all tokens of a text, and no logits."""
        return self.pooling != POOLING_NONE

    @property
    def reads_whole(self) -> bool:
        """Tell whether all tokens of a text must be in one batch."""
        if self.is_encoder or self.pooling in (POOLING_NONE, POOLING_LAST):
            return self.is_encoder
        by_last = self.metadata("general.architecture") in LAST_TOKEN_RERANKERS
        return not (self.pooling == POOLING_RANK and by_last)

    # Evaluation.

    def decode(self, items: Sequence[BatchItem], threads: int) -> None:
        """Raises CacheFull when there are no cells, StepInterrupted, and then nothing has changed;
        EngineError when what these sequences hold is unknown."""
        self._prepare(threads)
        self._check(self._lib.llama_decode(self._handle, self._arrays.fill(items)))

    def _prepare(self, threads: int) -> None:
        self._interruption[0] = 0
        if max(1, threads) != self._threads:
            self._threads = max(1, threads)
            self._lib.llama_set_n_threads(self._handle, self._threads, self._threads)
        self._log.clear()

    def decode_rows(self, item: RowsItem, threads: int) -> None:
        """Evaluate rows of a picture. Raises as `decode` does."""
        self._prepare(threads)
        if not item.is_causal:
            self._lib.llama_set_causal_attn(self._handle, 0)
        try:
            self._check(self._lib.llama_decode(self._handle, self._arrays.fill_rows(item)))
        finally:
            if not item.is_causal:
                self._lib.llama_set_causal_attn(self._handle, 1)

    def _check(self, code: int) -> None:
        if code == NO_CELLS:
            raise CacheFull("the cache has no cells for a step")
        if code == INTERRUPTED:
            raise StepInterrupted("the step was interrupted")
        if code:
            raise EngineError(f"the engine failed to evaluate a step: {self._log.reason()}")

    def interrupt(self) -> None:
        """End the decoding under way. Any thread may call it."""
        self._interruption[0] = 1

    def logits(self, places: range) -> Logits:
        """Logits of these tokens of the last batch, which stand in a row in the library's
        memory."""
        if not places:
            return np.empty((0, self.vocab_size), np.float32)
        address = self._lib.llama_get_logits_ith(self._handle, places[0])
        return _floats(address, len(places) * self.vocab_size).reshape(len(places), -1)

    @contextlib.contextmanager
    def embeddings(self) -> Iterator[None]:
        """Batches within give an embedding for each of their tokens."""
        self._lib.llama_set_embeddings(self._handle, 1)
        try:
            yield
        finally:
            self._lib.llama_set_embeddings(self._handle, 0)

    def embedding(self, sequence: int, place: int = 0) -> Logits:
        """Embedding of a sequence of the last batch, where it is pooled; else of a token of it."""
        if self.is_pooled:
            address = self._lib.llama_get_embeddings_seq(self._handle, sequence)
        else:
            address = self._lib.llama_get_embeddings_ith(self._handle, place)
        if not address:
            raise EngineError("the engine gave no embedding")
        return _floats(address, self.embedding_size).copy()

    # What sequences hold.

    def cut(self, sequence: int, start: int, end: int = -1) -> bool:
        """Drops the positions from `start` on, up to `end`; whether that could be done."""
        if not self._memory:
            return True
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, start, end))

    def share(self, source: int, target: int, end: int) -> None:
        """The positions up to `end` (-1: all) are held by `target`, too."""
        self._lib.llama_memory_seq_cp(self._memory, source, target, 0, end)

    def length(self, sequence: int) -> int:
        last: int = self._lib.llama_memory_seq_pos_max(self._memory, sequence)
        return last + 1

    def state_size(self, sequence: int) -> int:
        """Count the bytes of `read_state`."""
        size: int = self._lib.llama_state_seq_get_size_ext(self._handle, sequence, 0)
        return size

    def read_state(self, sequence: int, *, partial: bool = False) -> State:
        """The library's own bytes for a sequence. Raises EngineError or MemoryError."""
        flags = PARTIAL_STATE if partial else 0
        size = self._lib.llama_state_seq_get_size_ext(self._handle, sequence, flags)
        state = np.empty(size, np.uint8)
        args = (self._handle, state.ctypes.data, size, sequence, flags)
        if not size or self._lib.llama_state_seq_get_data_ext(*args) != size:
            raise EngineError("the engine could not save a state")
        return state

    def write_state(self, sequence: int, state: State, *, partial: bool = False) -> bool:
        """Let the library read these bytes for a sequence, which it checks; False if it refused."""
        flags = PARTIAL_STATE if partial else 0
        args = (self._handle, state.ctypes.data, state.size, sequence, flags)
        taken: int = self._lib.llama_state_seq_set_data_ext(*args)
        return 0 < taken == state.size

    # The rest.

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """The ids of a text, without those that begin or end a prompt; `special`: whether control
        tokens in it are known as such."""
        data = text.encode("utf-8", "replace")
        ids = (c_int32 * (len(data) + 8))()
        args = (self._vocabulary, data, len(data), ids, len(ids), 0, special)
        count = self._lib.llama_tokenize(*args)
        if count < 0:
            raise EngineError("the engine could not tokenize a text")
        return ids[:count]

    def marks(self) -> EmbeddingMarks:
        lib, vocabulary = self._lib, self._vocabulary
        is_pieces = lib.llama_vocab_type(vocabulary) == VOCABULARY_WORD_PIECES

        def mark(name: str) -> list[int]:
            if not getattr(lib, f"llama_vocab_get_add_{name}")(vocabulary):
                return []
            token: int = getattr(lib, f"llama_vocab_{name}")(vocabulary)
            return [token] if 0 <= token < self.vocab_size else []

        bos, eos, sep = mark("bos"), mark("eos"), mark("sep")
        end = sep if is_pieces else eos
        # Word pieces know no other end than the separator, which then ends each of two texts.
        between = sep if is_pieces else [*eos, *sep]
        return EmbeddingMarks(tuple(bos), tuple(end), tuple(between))

    def template(self, name: str) -> str:
        """A template of the file by its name; empty where there is none."""
        source: bytes | None = self._lib.llama_model_chat_template(self._model, name.encode())
        return (source or b"").decode("utf-8", "replace")

    def token_bytes(self, token: int) -> bytes:
        """Bytes of an ordinary token."""
        for size in (64, 4096):
            buffer = create_string_buffer(size)
            args = (self._vocabulary, token, buffer, size, 0, 0)
            length: int = self._lib.llama_token_to_piece(*args)
            if length >= 0:
                return buffer.raw[:length]
        return b""

    def close(self) -> None:
        self._free_context()
        if self._model and not self._is_twin:
            self._lib.llama_model_free(self._model)
            self._model = None

    def _free_context(self) -> None:
        if self._handle:
            self._lib.llama_free(self._handle)
            self._handle = self._memory = None


def _floats(address: int, count: int) -> Logits:
    buffer = (c_float * count).from_address(address)
    return np.frombuffer(memoryview(buffer), np.float32)


def _strlen() -> int | None:
    """Address of the C library's function."""
    library = CDLL("msvcrt" if sys.platform == "win32" else None)
    return cast(library.strlen, c_void_p).value
