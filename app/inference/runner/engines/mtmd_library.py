"""Declares what we call of libmtmd, the part of llama.cpp's library that turns pictures into rows.

It stands in the same file as the rest (`llama_library.py`), and is held to the same build in the
same way: its defaults are compared with those that we know before anything else is called.
"""

from __future__ import annotations

from ctypes import (
    CDLL,
    POINTER,
    Structure,
    c_bool,
    c_char_p,
    c_float,
    c_int,
    c_int32,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from functools import cache
from typing import Any, Final

from app.errors import ModelLoadError
from app.inference.runner.engines.llama_library import (
    LOG,
    LogCallback,
    check_layout,
    declare_functions,
    load_library,
)

MARKER: Final = b"<__media__>"
"""Stands in a text for a picture."""
TEXT_CHUNK: Final = 0
IMAGE_CHUNK: Final = 1


class MtmdParams(Structure):
    """`mtmd_context_params`; passed by value, so a longer tail than the library's does no harm."""

    _fields_ = (
        ("use_gpu", c_bool),
        ("device", c_void_p),
        ("print_timings", c_bool),
        ("n_threads", c_int),
        ("image_marker", c_char_p),
        ("media_marker", c_char_p),
        ("flash_attn_type", c_int),
        ("warmup", c_bool),
        ("image_min_tokens", c_int),
        ("image_max_tokens", c_int),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("batch_max_tokens", c_int32),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("_tail", c_uint8 * 64),
    )


class InputText(Structure):
    """`mtmd_input_text`."""

    _fields_ = (
        ("text", c_char_p),
        ("text_len", c_size_t),
        ("add_special", c_bool),
        ("parse_special", c_bool),
    )


class DecoderPosition(Structure):
    """`mtmd_decoder_pos`: where a row of a picture stands, for models with several axes."""

    _fields_ = (("t", c_uint32), ("x", c_uint32), ("y", c_uint32), ("z", c_uint32))


class Capabilities(Structure):
    """`mtmd_caps`."""

    _fields_ = (("vision", c_bool), ("audio", c_bool))


_KNOWN: Final = {
    "use_gpu": True,
    "device": None,
    "print_timings": True,
    "n_threads": 4,
    "image_marker": None,
    "media_marker": MARKER,
    "flash_attn_type": -1,
    "warmup": True,
    "image_min_tokens": -1,
    "image_max_tokens": -1,
    "cb_eval": None,
    "cb_eval_user_data": None,
    "batch_max_tokens": 1024,
    "progress_callback": None,
    "progress_callback_user_data": None,
}
"""The defaults of build 11549: where others are found, the layout is another one, too."""

_CHUNK = c_void_p
_CHUNKS = c_void_p
_CONTEXT = c_void_p
_BITMAP = c_void_p
_FUNCTIONS: Final[dict[str, tuple[Any, ...]]] = {
    # name: (result, arguments ...)
    "mtmd_helper_log_set": (None, LogCallback, c_void_p),
    "mtmd_context_params_default": (MtmdParams,),
    "mtmd_get_cap_from_file": (Capabilities, c_char_p),
    "mtmd_init_from_file": (_CONTEXT, c_char_p, c_void_p, MtmdParams),
    "mtmd_free": (None, _CONTEXT),
    "mtmd_support_vision": (c_bool, _CONTEXT),
    "mtmd_support_audio": (c_bool, _CONTEXT),
    "mtmd_decode_use_mrope": (c_bool, _CONTEXT),
    "mtmd_decode_use_non_causal": (c_bool, _CONTEXT, _CHUNK),
    "mtmd_bitmap_init": (_BITMAP, c_uint32, c_uint32, c_char_p),
    "mtmd_bitmap_init_from_audio": (_BITMAP, c_size_t, c_char_p),
    "mtmd_get_audio_sample_rate": (c_int, _CONTEXT),
    "mtmd_bitmap_free": (None, _BITMAP),
    "mtmd_input_chunks_init": (_CHUNKS,),
    "mtmd_input_chunks_free": (None, _CHUNKS),
    "mtmd_input_chunks_size": (c_size_t, _CHUNKS),
    "mtmd_input_chunks_get": (_CHUNK, _CHUNKS, c_size_t),
    "mtmd_input_chunk_get_type": (c_int, _CHUNK),
    "mtmd_input_chunk_get_tokens_text": (POINTER(c_int32), _CHUNK, POINTER(c_size_t)),
    "mtmd_input_chunk_get_tokens_image": (c_void_p, _CHUNK),
    "mtmd_input_chunk_get_n_tokens": (c_size_t, _CHUNK),
    "mtmd_input_chunk_get_n_pos": (c_int32, _CHUNK),
    "mtmd_helper_image_get_decoder_pos": (None, c_void_p, c_int32, POINTER(DecoderPosition)),
    "mtmd_tokenize": (
        c_int32,
        _CONTEXT,
        _CHUNKS,
        POINTER(InputText),
        POINTER(_BITMAP),
        c_size_t,
    ),
    "mtmd_encode_chunk": (c_int32, _CONTEXT, _CHUNK),
    "mtmd_get_output_embd": (POINTER(c_float), _CONTEXT),
}


@cache
def load_mtmd() -> CDLL:
    """Load the library with libmtmd's functions declared, too. Raises ModelLoadError."""
    lib = load_library()
    try:
        declare_functions(lib, _FUNCTIONS)
    except AttributeError as error:
        raise ModelLoadError(f"The engine's library cannot show pictures: {error}.") from error
    lib.mtmd_helper_log_set(LOG.callback, None)
    check_layout(lib.mtmd_context_params_default(), _KNOWN)
    return lib
