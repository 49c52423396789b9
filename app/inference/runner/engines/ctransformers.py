"""The engine of 2023: llama.cpp's C API of that day, from the library that ctransformers ships.

ctransformers itself is never imported: it drags in a hub client and py-cpuinfo (two seconds) for
a file name. Its library carries the whole llama.cpp C API of September 2023, which we call.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import struct
import threading
from collections.abc import Callable, Sequence
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint32,
    c_void_p,
    cast,
)
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import ModelLoadError
from app.inference.protocol import MAX_CONTEXTS
from app.inference.runner.engines.engine import Context, EngineError, GoOn, Logits, Slice, State
from app.inference.runner.engines.llama_library import LogCallback, NativeLog

ProgressCallback = CFUNCTYPE(None, c_float, c_void_p)
LOG: Final = NativeLog()
_NAMES = {
    "Linux": "libctransformers.so",
    "Darwin": "libctransformers.dylib",
    "Windows": "ctransformers.dll",
}
_X86 = {"x86_64", "amd64", "i386", "i686"}
MAX_SLICE = 128
# A state begins with the library's RNG and logits; its last fields are the bytes of the whole KV
# cache (0: none follow) and the count of positions that follow.
_TAIL = struct.Struct("<Qi")


class CtransformersEngine:
    """One GGUF file in memory. Raises ModelLoadError with the library's own reason.

    progress: hears, while it is loaded, how much of it is, from 0 to 1.
    """

    max_slice = MAX_SLICE
    max_contexts = MAX_CONTEXTS
    max_slices = max_outputs = 1
    is_reproducible = True
    takes_rows = False
    reads_whole = False

    def __init__(
        self,
        weights: Path,
        context_length: int,
        progress: Callable[[float], None] = lambda done: None,
    ) -> None:
        self.context_length = self.cuttable = context_length
        self._log = LOG
        self._log.clear()
        self._lib = load_library()
        self._lib.llama_backend_init(0)  # no NUMA
        self._params = self._lib.llama_context_default_params()
        self._params.n_ctx = context_length
        self._params.n_batch = MAX_SLICE
        self._params.f16_kv = True
        self._params.use_mmap = True
        self._params.embedding = True  # a copy of some numbers at each step
        notify = ProgressCallback(lambda done, _: progress(done))  # must live as long as the load
        self._params.progress_callback = cast(notify, c_void_p)
        self._model = self._lib.llama_load_model_from_file(bytes(weights), self._params)
        self._params.progress_callback = None
        if not self._model:
            raise ModelLoadError(f"The engine cannot load this model: {self._log.reason()}")
        self.vocab_size: int = self._lib.llama_model_n_vocab(self._model)
        self._open = 0
        self._lock = threading.Lock()
        self.embedding_size: int = self._lib.llama_model_n_embd(self._model)
        self.identity = f"{library_identity()} embedding"
        self._head, self._kv_size, self._per_token = self._measure_state()

    def new_context(self) -> CtransformersContext:
        with self._lock:
            if self._open >= MAX_CONTEXTS:
                raise EngineError("no further context: the engine holds all it can")
            handle = self._lib.llama_new_context_with_model(self._model, self._params)
            if not handle:
                raise EngineError(f"no further context: {self._log.reason()}")
            self._open += 1
        return CtransformersContext(self, handle)

    def evaluate(self, step: Sequence[Slice], threads: int) -> list[Logits]:
        """Each slice by itself; what two threads evaluate for two contexts runs side by side."""
        if any(not 0 <= part.outputs <= self.max_outputs for part in step):
            raise ValueError("the library gives the logits of the last token only")
        return [
            self._own(part.context)
            .evaluate(part.tokens, part.past, threads)
            .reshape(1, -1)[: part.outputs]
            for part in step
        ]

    def _own(self, context: Context) -> CtransformersContext:
        if not isinstance(context, CtransformersContext) or context.engine is not self:
            raise ValueError("this context is another engine's")
        return context

    def evaluate_aside(self, part: Slice, threads: int, go_on: GoOn | None = None) -> bool:
        return False

    def interrupt(self) -> None:
        """Do nothing: the library cannot, and its steps are short."""

    def is_state_size(self, size: int, count: int) -> bool:
        return size == self.state_size(count)

    def state_size(self, count: int) -> int:
        """Bytes of a saved state of `count` positions."""
        return self._head.size + count * self._per_token

    def head(self, count: int, *, with_positions: bool) -> State:
        """Beginning of a state of `count` positions, free of anything a chat left there.

        Given to the library without the positions, it only sets how many are held.
        """
        head = self._head.copy()
        tail = _TAIL.pack(self._kv_size if with_positions else 0, count)
        head[-_TAIL.size :] = np.frombuffer(tail, np.uint8)
        return head

    def _measure_state(self) -> tuple[State, int, int]:
        """The head of a state, the bytes of a whole cache, and those of one position."""
        context = self.new_context()
        try:
            room = np.empty(self._lib.llama_get_state_size(context.handle), np.uint8)
            # A new context holds no position, so its state is a head and nothing else.
            head = room[: self._lib.llama_copy_state_data(context.handle, room.ctypes.data)].copy()
            kv_size, count = _TAIL.unpack(head[-_TAIL.size :].tobytes())
            head[-_TAIL.size :] = np.frombuffer(_TAIL.pack(0, 1), np.uint8)
            self._lib.llama_set_state_data(context.handle, head.ctypes.data)
            one = self._lib.llama_copy_state_data(context.handle, room.ctypes.data)
            per_token = one - head.size
            if count or not 0 < per_token <= kv_size // self.context_length:
                raise ModelLoadError("The engine's library keeps its states in an unknown form.")
        finally:
            context.close()
        return head, kv_size, per_token

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


class CtransformersContext:
    def __init__(self, engine: CtransformersEngine, handle: int) -> None:
        self.engine = engine
        self._handle: int | None = handle

    @property
    def handle(self) -> int:
        if self._handle is None:
            raise ValueError("this context is closed")
        return self._handle

    def reach(self, count: int) -> int:
        return count

    def cut(self, count: int) -> int:
        """Change nothing: what lies beyond is overwritten by the next step."""
        return count

    def checkpoint(self) -> None:
        pass

    def cuts(self, count: int) -> tuple[int, ...]:
        return ()

    def copy(self, source: Context, count: int) -> None:
        self.restore(source.save(count), count)

    def evaluate(self, tokens: Sequence[int], past: int, threads: int) -> Logits:
        """The logits after `tokens`, shape (vocab_size,)."""
        engine, count = self.engine, len(tokens)
        # The library checks none of this: it would read or write outside its arrays.
        handle = self.handle
        if not 1 <= count <= MAX_SLICE or past < 0 or past + count > engine.context_length:
            raise ValueError(f"{count} tokens after {past} do not fit")
        if min(tokens) < 0 or max(tokens) >= engine.vocab_size:
            raise ValueError("a token id lies outside the vocabulary")
        ids = (c_int32 * count)(*tokens)
        if engine.lib.llama_eval(handle, ids, count, past, max(1, threads)):
            raise EngineError("the engine failed to evaluate a step")
        address = engine.lib.llama_get_logits(handle)
        buffer = (c_float * engine.vocab_size).from_address(address)
        return np.frombuffer(memoryview(buffer), np.float32)

    def embedding(self) -> Logits:
        return self._embedding().copy()

    def _embedding(self) -> Logits:
        address = self.engine.lib.llama_get_embeddings(self.handle)
        if not address:
            raise EngineError("the engine kept no embedding")
        buffer = (c_float * self.engine.embedding_size).from_address(address)
        return np.frombuffer(memoryview(buffer), np.float32)

    def save(self, count: int) -> State:
        engine, handle = self.engine, self.handle
        if not 1 <= count <= engine.context_length:
            raise ValueError(f"{count} positions cannot be saved")
        state = np.empty(engine.state_size(count), np.uint8)
        # The library copies as many positions as it believes to hold: tell it how many we want.
        shorter = engine.head(count, with_positions=False)
        last = self._embedding()
        kept = last.copy()  # somebody may still want it, and the head brings one of its own
        engine.lib.llama_set_state_data(handle, shorter.ctypes.data)
        last[:] = kept
        if engine.lib.llama_get_kv_cache_token_count(handle) != count:
            raise EngineError("the engine's cache cannot be cut")
        if engine.lib.llama_copy_state_data(handle, state.ctypes.data) != state.size:
            raise EngineError("the engine saved a state of another size")
        # The logits may tell of what was evaluated after these positions, in another chat.
        _write_head(state, engine.head(count, with_positions=True))
        return state

    def restore(self, state: State, count: int) -> None:
        engine, handle = self.engine, self.handle
        right = 1 <= count <= engine.context_length and state.shape == (engine.state_size(count),)
        if not right or state.dtype != np.uint8 or not state.flags.c_contiguous:
            raise ValueError(f"this is no state of {count} positions")
        # Everything that the library reads as a size or a number to believe is written by us.
        _write_head(state, engine.head(count, with_positions=True))
        engine.lib.llama_set_state_data(handle, state.ctypes.data)

    def close(self) -> None:
        if self._handle is not None:
            self.engine._free(self._handle)
            self._handle = None


def _write_head(state: State, head: State) -> None:
    state[: head.size] = head


class OldContextParams(Structure):
    """`llama_context_params` of that day; it configures the weights as well as the contexts."""

    _fields_ = (
        ("seed", c_uint32),
        ("n_ctx", c_int32),
        ("n_batch", c_int32),
        ("n_gpu_layers", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", POINTER(c_float)),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("progress_callback", c_void_p),
        ("progress_user_data", c_void_p),
        ("low_vram", c_bool),
        ("mul_mat_q", c_bool),
        ("f16_kv", c_bool),
        ("logits_all", c_bool),
        ("vocab_only", c_bool),
        ("use_mmap", c_bool),
        ("use_mlock", c_bool),
        ("embedding", c_bool),
    )


def library_path() -> Path:
    """The fastest build that this processor can run. Raises ModelLoadError where there is none."""
    spec = importlib.util.find_spec("ctransformers")
    if spec is None or spec.origin is None:
        raise ModelLoadError("The engine is missing: the ctransformers package is not installed.")
    system, machine = platform.system(), platform.machine()
    folder = variant(system, machine, _cpu_flags(system))
    path = Path(spec.origin).parent / "lib" / folder / _NAMES.get(system, "-")
    if folder and path.is_file():
        return path
    raise ModelLoadError(
        f"The built-in engine has no library for {system} on {machine}. "
        "Use a remote engine, or run Wick on x86-64 or on a Mac."
    )


def library_identity() -> str:
    """Names this build of the library: another one may keep its states in another form."""
    path = library_path()
    content = path.read_bytes()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return f"{path.parent.name}/{path.name}:{len(content)}:{digest}"


def variant(system: str, machine: str, flags: set[str]) -> str:
    """The folder of the build for a platform, empty where ctransformers ships none."""
    if machine.lower() not in _X86:
        return "basic" if system == "Darwin" else ""
    if "avx2" in flags and {"fma", "f16c"} <= flags:
        return "avx2"
    return "avx" if {"avx", "f16c"} <= flags else "basic"


def load_library() -> CDLL:
    """The library with its functions' types declared. Calls release the GIL."""
    path = library_path()
    try:
        lib = CDLL(str(path))
    except OSError as error:
        raise ModelLoadError(f"The engine's library {path.name} cannot start: {error}.") from error
    lib.llama_context_default_params.restype = OldContextParams
    lib.llama_backend_init.argtypes = [c_int]
    lib.llama_log_set.argtypes = [LogCallback, c_void_p]
    lib.llama_log_set(LOG.callback, None)
    lib.llama_load_model_from_file.argtypes = [c_char_p, OldContextParams]
    lib.llama_load_model_from_file.restype = c_void_p
    lib.llama_new_context_with_model.argtypes = [c_void_p, OldContextParams]
    lib.llama_new_context_with_model.restype = c_void_p
    lib.llama_model_n_vocab.argtypes = [c_void_p]
    lib.llama_eval.argtypes = [c_void_p, POINTER(c_int32), c_int, c_int, c_int]
    lib.llama_get_logits.argtypes = [c_void_p]
    lib.llama_get_logits.restype = c_void_p
    lib.llama_model_n_embd.argtypes = [c_void_p]
    lib.llama_get_embeddings.argtypes = [c_void_p]
    lib.llama_get_embeddings.restype = c_void_p
    lib.llama_get_kv_cache_token_count.argtypes = [c_void_p]
    lib.llama_get_state_size.argtypes = [c_void_p]
    lib.llama_get_state_size.restype = c_size_t
    for copy in (lib.llama_copy_state_data, lib.llama_set_state_data):
        copy.argtypes = [c_void_p, c_void_p]
        copy.restype = c_size_t
    lib.llama_free.argtypes = [c_void_p]
    lib.llama_free_model.argtypes = [c_void_p]
    return lib


def _cpu_flags(system: str) -> set[str]:
    if system == "Linux":
        text = Path("/proc/cpuinfo").read_text(errors="replace")
        line = next((line for line in text.splitlines() if line.startswith("flags")), "")
        return set(line.partition(":")[2].split())
    if system == "Windows":
        # Windows tells of AVX2 (40) and AVX (39); every processor with AVX2 has FMA and F16C.
        from ctypes import windll  # type: ignore[attr-defined,unused-ignore]

        has = windll.kernel32.IsProcessorFeaturePresent
        return {"avx", "avx2", "fma", "f16c"} if has(40) else set()
    # The Intel Macs that a supported macOS runs on all have AVX2.
    return {"avx", "avx2", "fma", "f16c"}
