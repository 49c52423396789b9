"""Finds the library inside the xllamacpp package and declares what we call of llama.cpp's C API.

xllamacpp itself is never imported: its library carries the whole C API of llama.cpp build 11549,
which we call. The package has no headers, so layouts are declared here, for that build alone, and
compared with the library's own defaults before anything else is called.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from collections import deque
from collections.abc import Container, Iterator, Mapping
from ctypes import (
    CDLL,
    CFUNCTYPE,
    POINTER,
    Structure,
    c_bool,
    c_char,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any, Final

from app.errors import ModelLoadError

PACKAGE: Final = "xllamacpp"
ProgressCallback = CFUNCTYPE(c_bool, c_float, c_void_p)
LogCallback = CFUNCTYPE(None, c_int, c_char_p, c_void_p)
EvalCallback = CFUNCTYPE(c_bool, c_void_p, c_bool, c_void_p)
MAX_REASON_CHARS: Final = 300
# Values of the library's enumerations.
VOCABULARY_WORD_PIECES: Final = 3
POOLING_NONE: Final = 0
POOLING_MEAN: Final = 1
POOLING_LAST: Final = 3
POOLING_RANK: Final = 4
ROPE_WITH_AXES: Final = 8
FLASH_AUTO: Final = -1
FLASH_ON: Final = 1
KV_TYPES: Final = {"f16": 1, "q8_0": 8}
PARTIAL_STATE: Final = 1
"""Of a state only what cannot be cut: recurrent layers, not the attention's keys and values."""


class NativeLog:
    """One of a library, for as long as the process: it may write whenever it is called, also for
    an engine that is closed. levels: those whose lines are kept, None keeps all."""

    def __init__(self, levels: Container[int] | None = None) -> None:
        self._levels = levels
        self._text: deque[str] = deque(maxlen=64)
        self._pattern: re.Pattern[str] | None = None
        self._matches: list[re.Match[str]] = []
        self.callback = LogCallback(self._write)

    def clear(self) -> None:
        self._text.clear()

    @contextlib.contextmanager
    def watched(self, pattern: re.Pattern[str]) -> Iterator[list[re.Match[str]]]:
        """Collect what matches in the lines of all levels that come within."""
        self._pattern, self._matches = pattern, list[re.Match[str]]()
        try:
            yield self._matches
        finally:
            self._pattern = None

    def reason(self) -> str:
        """The first line that speaks of an error, else the first one, as the end of a sentence."""
        lines = [line.strip() for line in "".join(self._text).splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["it gave no reason"])[0][:MAX_REASON_CHARS].rstrip(".") + "."

    def _write(self, level: int, text: bytes | None, _user: object) -> None:
        line = (text or b"").decode("utf-8", "replace")
        if self._levels is None or level in self._levels:
            self._text.append(line)
        if self._pattern is not None and (found := self._pattern.search(line)):
            self._matches.append(found)


LOG: Final = NativeLog(levels={3, 4, 5})  # warnings, errors, and lines that go on


class ModelParams(Structure):
    """`llama_model_params`; passed by value, so a longer tail than the library's does no harm."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int32),
        ("load_mode", c_int32),
        ("lazy_mode", c_int32),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
        ("_tail", c_uint8 * 58),
    )


class ContextParams(Structure):
    """`llama_context_params`; `_callbacks`: functions that we set in other ways, or not at all."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int32),
        ("rope_scaling_type", c_int32),
        ("pooling_type", c_int32),
        ("attention_type", c_int32),
        ("flash_attn_type", c_int32),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int32),
        ("type_v", c_int32),
        ("_callbacks", c_void_p * 3),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("_tail", c_uint8 * 58),
    )


class MetadataOverride(Structure):
    """`llama_model_kv_override` with a number in place of a file's; an array ends with no key."""

    _fields_ = (
        ("tag", c_int32),  # 0: an integer
        ("key", c_char * 128),
        ("value", c_int64),
        ("_rest_of_union", c_uint8 * 120),
    )


class Batch(Structure):
    """`llama_batch`: arrays of `n_tokens` each."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", c_void_p),
        ("embd", c_void_p),
        ("pos", c_void_p),
        ("n_seq_id", c_void_p),
        ("seq_id", c_void_p),
        ("logits", c_void_p),
    )


_KNOWN_CONTEXT: Final = {
    "n_ctx": 512,
    "n_batch": 2048,
    "n_ubatch": 512,
    "n_seq_max": 1,
    "n_outputs_max_per_seq": 1,
    "rope_scaling_type": -1,
    "pooling_type": -1,
    "flash_attn_type": -1,
    "defrag_thold": -1.0,
    "type_k": 1,
    "type_v": 1,
    "embeddings": False,
    "offload_kqv": True,
    "no_perf": True,
    "op_offload": True,
    "swa_full": True,
    "kv_unified": False,
}
_KNOWN_MODEL: Final = {
    "devices": None,
    "n_gpu_layers": -1,
    "split_mode": 1,
    "load_mode": -1,
    "lazy_mode": 1,
    "main_gpu": 0,
    "progress_callback": None,
    "kv_overrides": None,
    "vocab_only": False,
    "check_tensors": False,
    "use_extra_bufts": True,
    "no_host": False,
    "no_alloc": False,
}
"""The defaults of build 11549: where others are found, the layout is another one, too."""

_CONTEXT = c_void_p
_DEVICE = c_void_p
_MODEL = c_void_p
_SEQUENCE = c_int32
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    # name: (result, arguments ...)
    "llama_log_set": (None, LogCallback, c_void_p),
    "llama_backend_init": (None,),
    "llama_max_devices": (c_size_t,),
    "ggml_backend_dev_count": (c_size_t,),
    "ggml_backend_dev_get": (_DEVICE, c_size_t),
    "ggml_backend_dev_name": (c_char_p, _DEVICE),
    "ggml_backend_dev_description": (c_char_p, _DEVICE),
    "ggml_backend_dev_type": (c_int, _DEVICE),
    "ggml_backend_dev_memory": (None, _DEVICE, POINTER(c_size_t), POINTER(c_size_t)),
    "llama_model_default_params": (ModelParams,),
    "llama_context_default_params": (ContextParams,),
    "llama_model_load_from_file": (_MODEL, c_char_p, ModelParams),
    "llama_model_free": (None, _MODEL),
    "llama_model_get_vocab": (c_void_p, _MODEL),
    "llama_model_n_embd_inp": (c_int32, _MODEL),
    "llama_model_n_embd_out": (c_int32, _MODEL),
    "llama_model_n_cls_out": (c_uint32, _MODEL),
    "llama_model_chat_template": (c_char_p, _MODEL, c_char_p),
    "llama_model_has_encoder": (c_bool, _MODEL),
    "llama_model_has_decoder": (c_bool, _MODEL),
    "llama_model_meta_val_str": (c_int32, _MODEL, c_char_p, c_char_p, c_size_t),
    "llama_model_n_swa": (c_int32, _MODEL),
    "llama_model_rope_type": (c_int32, _MODEL),
    "llama_model_is_recurrent": (c_bool, _MODEL),
    "llama_model_is_hybrid": (c_bool, _MODEL),
    "llama_vocab_n_tokens": (c_int32, c_void_p),
    "llama_vocab_type": (c_int32, c_void_p),
    "llama_vocab_bos": (c_int32, c_void_p),
    "llama_vocab_eos": (c_int32, c_void_p),
    "llama_vocab_sep": (c_int32, c_void_p),
    "llama_vocab_get_add_bos": (c_bool, c_void_p),
    "llama_vocab_get_add_eos": (c_bool, c_void_p),
    "llama_vocab_get_add_sep": (c_bool, c_void_p),
    "llama_tokenize": (
        c_int32,
        c_void_p,
        c_char_p,
        c_int32,
        POINTER(c_int32),
        c_int32,
        c_bool,
        c_bool,
    ),
    "llama_token_to_piece": (c_int32, c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool),
    "llama_init_from_model": (_CONTEXT, _MODEL, ContextParams),
    "llama_free": (None, _CONTEXT),
    "llama_get_memory": (c_void_p, _CONTEXT),
    "llama_n_ctx": (c_uint32, _CONTEXT),
    "llama_pooling_type": (c_int32, _CONTEXT),
    "llama_set_n_threads": (None, _CONTEXT, c_int32, c_int32),
    "llama_set_abort_callback": (None, _CONTEXT, c_void_p, c_void_p),
    "llama_set_embeddings": (None, _CONTEXT, c_bool),
    "llama_set_causal_attn": (None, _CONTEXT, c_bool),
    "llama_decode": (c_int32, _CONTEXT, Batch),
    "llama_encode": (c_int32, _CONTEXT, Batch),
    "llama_get_logits_ith": (c_void_p, _CONTEXT, c_int32),
    "llama_get_embeddings_ith": (c_void_p, _CONTEXT, c_int32),
    "llama_get_embeddings_seq": (c_void_p, _CONTEXT, _SEQUENCE),
    "llama_memory_seq_rm": (c_bool, c_void_p, _SEQUENCE, c_int32, c_int32),
    "llama_memory_seq_cp": (None, c_void_p, _SEQUENCE, _SEQUENCE, c_int32, c_int32),
    "llama_memory_seq_pos_max": (c_int32, c_void_p, _SEQUENCE),
    "llama_state_seq_get_size_ext": (c_size_t, _CONTEXT, _SEQUENCE, c_uint32),
    "llama_state_seq_get_data_ext": (c_size_t, _CONTEXT, c_void_p, c_size_t, _SEQUENCE, c_uint32),
    "llama_state_seq_set_data_ext": (c_size_t, _CONTEXT, c_void_p, c_size_t, _SEQUENCE, c_uint32),
}


def library_path() -> Path:
    """Raises ModelLoadError where there is none."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelLoadError(f"The engine is missing: the {PACKAGE} package is not installed.")
    folder = Path(spec.origin).parent
    found = sorted(path for path in folder.glob(f"{PACKAGE}.*") if path.suffix in (".so", ".pyd"))
    if not found:
        raise ModelLoadError(f"The engine is missing: the {PACKAGE} package has no library.")
    return found[0]


@cache
def library_identity() -> str:
    """Names this build of the library: another one may keep its states in another form."""
    version = importlib.metadata.version(PACKAGE)
    return f"llama.cpp {version}:{library_path().stat().st_size}"


@cache
def load_library() -> CDLL:
    """The library with its functions' types declared. Calls release the GIL.

    Raises ModelLoadError where it is missing, cannot start, or is another build than ours.
    """
    path = library_path()
    try:
        lib = CDLL(str(path))
        declare_functions(lib, _FUNCTIONS)
    except (OSError, AttributeError) as error:
        raise ModelLoadError(_reason(str(error))) from error
    lib.llama_log_set(LOG.callback, None)
    check_layout(lib.llama_model_default_params(), _KNOWN_MODEL)
    check_layout(lib.llama_context_default_params(), _KNOWN_CONTEXT)
    return lib


def declare_functions(lib: CDLL, functions: Mapping[str, tuple[Any, ...]]) -> None:
    """Raises AttributeError where one is missing."""
    for name, (result, *arguments) in functions.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments


def check_layout(params: Structure, known: dict[str, Any]) -> None:
    """Raises ModelLoadError where the library's defaults are not those of our build."""
    for name, value in known.items():
        if getattr(params, name) != value:
            raise ModelLoadError(
                f"The installed {PACKAGE} is not the one that Wick was made for: "
                f"its default of {name} is another. Install the version that Wick names."
            )


def _reason(error: str) -> str:
    if "libgomp" in error:
        return (
            "The engine needs the system library libgomp.so.1: install the package libgomp1 "
            "(Debian, Ubuntu) or libgomp (Fedora, Alpine)."
        )
    return f"The engine's library cannot start: {error.rstrip('.')}."
