"""Memory of a model's context, computed from the header of its file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.errors import ModelFileError
from app.models.gguf.header import Array, Header, ValueType

F16_BYTES: Final = 2
"""Engines keep keys and values as 16-bit numbers unless they are told otherwise."""
Q8_0_BLOCK: Final = 32
Q8_0_SHARE: Final = 34 / (Q8_0_BLOCK * F16_BYTES)
"""Of the bytes at 16 bits: q8_0 keeps blocks of 32 numbers in a byte each, with one scale."""
F32_BYTES: Final = 4
"""The states of recurrent layers are 32-bit numbers."""
MAX_LAYERS: Final = 1_000
MAX_WIDTH: Final = 1 << 24
MAX_WINDOW: Final = 1 << 30
WHOLE_NUMBERS: Final = frozenset(ValueType) - {
    ValueType.STRING,
    ValueType.ARRAY,
    ValueType.FLOAT32,
    ValueType.FLOAT64,
}


RECURRENT_ARCHITECTURES: Final = frozenset(
    ("arwkv7", "mamba", "mamba2", "rwkv6", "rwkv6qwen2", "rwkv7")
)
"""Those without attention: a state of fixed size stands for all they have read."""
WINDOW_PERIODS: Final[dict[str, int]] = {
    "afmoe": 4,
    "cohere2": 4,
    "exaone-moe": 4,
    "exaone4": 4,
    "gemma-embedding": 6,
    "gemma2": 2,
    "gemma3": 6,
    "gemma3n": 5,
    "gpt-oss": 2,
    "llama4": 4,
    "muse-glimmer": 4,
    "olmo2": 4,
    "plamo3": 8,
}
"""Every which layer sees the whole context, where a file names a window and no pattern."""
FULL_ATTENTION_INTERVALS: Final[dict[str, int]] = {
    "qwen35": 4,
    "qwen35moe": 4,
    "qwen3next": 4,
    "qwen4exp": 4,
}
"""Every which layer has attention; the others keep a state of fixed size."""
OWN_KV_LAYERS: Final[dict[str, int]] = {"gemma3n": 20}
"""How many layers have keys and values of their own; the others read those of these."""


@dataclass(frozen=True, slots=True)
class KvLayout:
    """Bytes of a context at 16 bits a number.

    full_bytes: of one token in all layers that see the whole context; windowed_bytes: of one token
    in those that see only the last `window` tokens; state_bytes: of one sequence in recurrent
    layers, however long it is; takes_q8_0: its heads consist of whole blocks of that type. Files of
    earlier versions do not say so, and count as f16.
    """

    full_bytes: int
    windowed_bytes: int = 0
    window: int = 0
    state_bytes: int = 0
    takes_q8_0: bool = False

    @property
    def bytes_per_token(self) -> int:
        """Bytes per token of all layers, in engines that can return to any token."""
        return self.full_bytes + self.windowed_bytes

    @property
    def is_recurrent(self) -> bool:
        """Tell whether the context has states, so that it cannot be cut at any token."""
        return self.state_bytes > 0


def kv_layout(header: Header) -> KvLayout:
    """Raises ModelFileError for sizes that no model has."""
    return _LayoutReader(header).layout()


class _LayoutReader:
    """The sizes of each layer, as llama.cpp derives them from the same keys."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.architecture = header.text("general.architecture") or ""
        blocks = self._size("block_count", MAX_LAYERS)
        self.layers = max(1, blocks - self._size("nextn_predict_layers", blocks, 0))
        self.heads = self._each("attention.head_count", 1)
        self.kv_heads = self._each("attention.head_count_kv", self.heads)
        width = self._size("embedding_length", MAX_WIDTH) // max(1, *self.heads)
        self.key = self._size("attention.key_length", MAX_WIDTH, width)
        self.value = self._size("attention.value_length", MAX_WIDTH, width)
        if "attention.key_length_mla" in self._known():
            self.value = 0  # it is a part of the key (multi-head latent attention)
        self.index = self._size("attention.indexer.key_length", MAX_WIDTH, 0)

    def layout(self) -> KvLayout:
        recurrent, windowed = self._recurrent(), self._windowed()
        full = window = 0
        for layer in range(self._own_layers()):
            if recurrent[layer] and not self._is_parallel():
                continue
            numbers = self._numbers(layer, is_windowed=windowed[layer])
            if windowed[layer]:
                window += numbers * F16_BYTES
            else:
                full += numbers * F16_BYTES
        states = sum(recurrent) * self._state_numbers() * F32_BYTES
        reach = self._size("attention.sliding_window", MAX_WINDOW, 0) if window else 0
        return KvLayout(full, window, reach, states, self._takes_q8_0())

    def _takes_q8_0(self) -> bool:
        names = ("attention.key_length_swa", "attention.value_length_swa")
        widths = [self.key, self.value, *(self._size(name, MAX_WIDTH, 0) for name in names)]
        return not self.index and not any(width % Q8_0_BLOCK for width in widths)

    def _numbers(self, layer: int, *, is_windowed: bool) -> int:
        key, value = self.key, self.value
        if is_windowed:
            key = self._size("attention.key_length_swa", MAX_WIDTH, key)
            value = self._size("attention.value_length_swa", MAX_WIDTH, value)
        return self.kv_heads[layer] * (key + value) + self.index

    def _own_layers(self) -> int:
        shared = self._size("attention.shared_kv_layers", self.layers, 0)
        return min(OWN_KV_LAYERS.get(self.architecture, self.layers), self.layers - shared)

    def _windowed(self) -> list[bool]:
        """Tell for each layer whether it sees only a window."""
        if not self._size("attention.sliding_window", MAX_WINDOW, 0):
            return [False] * self.layers
        key = "attention.sliding_window_pattern"
        if isinstance(self.header.metadata.get(f"{self.architecture}.{key}"), Array):
            return [bool(each) for each in self._each(key, 0)]
        period = self._size(key, MAX_LAYERS, WINDOW_PERIODS.get(self.architecture, 1))
        return [period == 0 or layer % period < period - 1 for layer in range(self.layers)]

    def _recurrent(self) -> list[bool]:
        """Tell for each layer whether it keeps a state of fixed size."""
        if self.architecture in RECURRENT_ARCHITECTURES or self._is_parallel():
            return [True] * self.layers
        if not self._state_numbers():
            return [False] * self.layers
        if "attention.recurrent_layers" in self._known():
            return [bool(each) for each in self._each("attention.recurrent_layers", 0)]
        if interval := self._size(
            "full_attention_interval",
            MAX_LAYERS,
            FULL_ATTENTION_INTERVALS.get(self.architecture, 0),
        ):
            return [(layer + 1) % interval != 0 for layer in range(self.layers)]
        plain = self._each("feed_forward_length", 0)
        has_plain_layers = self.architecture.startswith("nemotron_h")
        return [
            not heads and not (has_plain_layers and forward)
            for heads, forward in zip(self.kv_heads, plain, strict=True)
        ]

    def _is_parallel(self) -> bool:
        """Tell whether every layer has both attention and a state."""
        return self.architecture == "falcon-h1"

    def _state_numbers(self) -> int:
        """Numbers of one recurrent layer's state."""
        width = self._size("embedding_length", MAX_WIDTH)
        if heads := self._size("wkv.head_size", MAX_WIDTH, 0):
            return width * (self._size("token_shift_count", MAX_WIDTH, 2) + heads)
        if cached := self._size("shortconv.l_cache", MAX_WIDTH, 0):
            return width * (cached - 1)
        if size := self._size("kda.head_dim", MAX_WIDTH, 0):
            kernel = max(0, self._size("ssm.conv_kernel", MAX_WIDTH, 0) - 1)
            return max(self.heads) * size * (3 * kernel + size)
        inner, state = (
            self._size(f"ssm.{name}", MAX_WIDTH, 0) for name in ("inner_size", "state_size")
        )
        groups = self._size("ssm.group_count", MAX_WIDTH, 0)
        kernel = max(0, self._size("ssm.conv_kernel", MAX_WIDTH, 0) - 1)
        return kernel * (inner + 2 * groups * state) + inner * state

    def _known(self) -> set[str]:
        prefix = f"{self.architecture}."
        return {key.removeprefix(prefix) for key in self.header.metadata if key.startswith(prefix)}

    def _size(self, key: str, limit: int, default: int | None = None) -> int:
        value = self.header.integer(f"{self.architecture}.{key}")
        value = default if value is None else value
        if value is None or not 0 <= value <= limit or (default is None and not value):
            raise self._damaged(key, value)
        return value

    def _each(self, key: str, default: int | list[int]) -> list[int]:
        """A number for every layer; one alone holds for all of them."""
        name = f"{self.architecture}.{key}"
        value = self.header.metadata.get(name)
        if value is None:
            return [default] * self.layers if isinstance(default, int) else default
        if isinstance(value, bool | int):
            found = [int(value)] * self.layers
        elif isinstance(value, Array) and value.type in WHOLE_NUMBERS:
            found = [int(each) for each in value.numbers()[: self.layers]]
        else:
            raise self._damaged(key, "no number")
        if len(found) != self.layers or not all(0 <= each <= MAX_WIDTH for each in found):
            raise self._damaged(key, f"a list of {len(found)}")
        return found

    def _damaged(self, key: str, value: object) -> ModelFileError:
        return ModelFileError(
            f"{self.header.path.name} is damaged: its “{self.architecture}.{key}” is {value}."
        )
