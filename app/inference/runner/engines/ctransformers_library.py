"""Finds the prebuilt library inside the ctransformers package and declares the C API it exports.

ctransformers itself is never imported: it drags in a hub client and py-cpuinfo (two seconds) for
a file name. Its library carries the whole llama.cpp C API of September 2023, which we call.
"""

from __future__ import annotations

import hashlib
import importlib.util
import platform
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
)
from pathlib import Path
from typing import Final

from app.errors import ModelLoadError
from app.inference.runner.engines.native_log import LogCallback, NativeLog

ProgressCallback = CFUNCTYPE(None, c_float, c_void_p)
LOG: Final = NativeLog()
_NAMES = {
    "Linux": "libctransformers.so",
    "Darwin": "libctransformers.dylib",
    "Windows": "ctransformers.dll",
}
_X86 = {"x86_64", "amd64", "i386", "i686"}


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
