"""The embedded engine: llama.cpp's C API, from the library that ctransformers ships."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from ctypes import CDLL, c_float, c_int32
from pathlib import Path

import numpy as np

from app.errors import ModelLoadError
from app.inference.engine import EngineError, Logits
from app.inference.native_library import LogCallback, load_library

# One ggml graph lives in every context; around 60 of them abort the process.
MAX_CONTEXTS = 56
MAX_SLICE = 128


class LlamaCppEngine:
    """One GGUF file in memory. Raises ModelLoadError with the library's own reason."""

    max_slice = MAX_SLICE

    def __init__(self, weights: Path, context_length: int) -> None:
        self.context_length = context_length
        self._log = _Log()
        self._lib = load_library()
        self._lib.llama_log_set(self._log.callback, None)
        self._lib.llama_backend_init(0)  # no NUMA
        self._params = self._lib.llama_context_default_params()
        self._params.n_ctx = context_length
        self._params.n_batch = MAX_SLICE
        self._params.f16_kv = True
        self._params.use_mmap = True
        self._model = self._lib.llama_load_model_from_file(bytes(weights), self._params)
        if not self._model:
            raise ModelLoadError(f"The engine cannot load this model: {self._log.reason()}")
        self.vocab_size: int = self._lib.llama_model_n_vocab(self._model)
        self._open = 0
        self._lock = threading.Lock()

    def new_context(self) -> LlamaCppContext:
        with self._lock:
            if self._open >= MAX_CONTEXTS:
                raise EngineError("no further context: the engine holds all it can")
            handle = self._lib.llama_new_context_with_model(self._model, self._params)
            if not handle:
                raise EngineError(f"no further context: {self._log.reason()}")
            self._open += 1
        return LlamaCppContext(self, handle)

    def close(self) -> None:
        """Frees the weights. Every context must be closed before."""
        if self._model:
            self._lib.llama_free_model(self._model)
            self._model = None

    def _free(self, handle: int) -> None:
        with self._lock:
            self._lib.llama_free(handle)
            self._open -= 1

    @property
    def lib(self) -> CDLL:
        return self._lib


class LlamaCppContext:
    def __init__(self, engine: LlamaCppEngine, handle: int) -> None:
        self._engine = engine
        self._handle: int | None = handle

    def evaluate(self, tokens: Sequence[int], past: int, threads: int) -> Logits:
        engine, count = self._engine, len(tokens)
        # The library checks none of this: it would read or write outside its arrays.
        if self._handle is None:
            raise ValueError("this context is closed")
        if not 1 <= count <= MAX_SLICE or past < 0 or past + count > engine.context_length:
            raise ValueError(f"{count} tokens after {past} do not fit")
        if min(tokens) < 0 or max(tokens) >= engine.vocab_size:
            raise ValueError("a token id lies outside the vocabulary")
        ids = (c_int32 * count)(*tokens)
        if engine.lib.llama_eval(self._handle, ids, count, past, max(1, threads)):
            raise EngineError("the engine failed to evaluate a step")
        address = engine.lib.llama_get_logits(self._handle)
        # Copied, since the next evaluation overwrites the library's buffer.
        return np.array((c_float * engine.vocab_size).from_address(address), np.float32)

    def close(self) -> None:
        if self._handle is not None:
            self._engine._free(self._handle)
            self._handle = None


class _Log:
    """The last lines of the library's log: the only place that says why a load failed."""

    def __init__(self) -> None:
        self._text: deque[str] = deque(maxlen=64)
        self.callback = LogCallback(self._write)

    def _write(self, _level: int, text: bytes | None, _user: object) -> None:
        self._text.append((text or b"").decode("utf-8", "replace"))

    def reason(self) -> str:
        lines = [line.strip() for line in "".join(self._text).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it gave no reason"])[0][:300].rstrip(".") + "."
