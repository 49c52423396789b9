"""The numbers of the GGUF format: value types of its metadata, storage types of its tensors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class ValueType(IntEnum):
    """How one metadata value is stored."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


NUMBER_FORMATS: Final[dict[int, str]] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "B",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}
"""The `struct` letter of every value type of a fixed size."""


@dataclass(frozen=True, slots=True)
class TensorType:
    """One storage type: `block` weights take `size` bytes. `weight`: a matrix may be stored so."""

    name: str
    block: int
    size: int
    weight: bool = True


TENSOR_TYPES: Final[dict[int, TensorType]] = {
    0: TensorType("F32", 1, 4),
    1: TensorType("F16", 1, 2),
    2: TensorType("Q4_0", 32, 18),
    3: TensorType("Q4_1", 32, 20),
    6: TensorType("Q5_0", 32, 22),
    7: TensorType("Q5_1", 32, 24),
    8: TensorType("Q8_0", 32, 34),
    9: TensorType("Q8_1", 32, 40, weight=False),
    10: TensorType("Q2_K", 256, 84),
    11: TensorType("Q3_K", 256, 110),
    12: TensorType("Q4_K", 256, 144),
    13: TensorType("Q5_K", 256, 176),
    14: TensorType("Q6_K", 256, 210),
    15: TensorType("Q8_K", 256, 292, weight=False),
    24: TensorType("I8", 1, 1, weight=False),
    25: TensorType("I16", 1, 2, weight=False),
    26: TensorType("I32", 1, 4, weight=False),
}
"""What the engine's library of September 2023 knows, with its sizes of that day.

The file's numbers for I8, I16 and I32 changed since (they were 16 to 18): no language model stores
weights in them, so they are only named here.
"""

LATER_TYPES: Final[dict[int, str]] = {
    4: "Q4_2",
    5: "Q4_3",
    16: "IQ2_XXS",
    17: "IQ2_XS",
    18: "IQ3_XXS",
    19: "IQ1_S",
    20: "IQ4_NL",
    21: "IQ3_S",
    22: "IQ2_S",
    23: "IQ4_XS",
    27: "I64",
    28: "F64",
    29: "IQ1_M",
    30: "BF16",
    31: "Q4_0_4_4",
    32: "Q4_0_4_8",
    33: "Q4_0_8_8",
    34: "TQ1_0",
    35: "TQ2_0",
    36: "IQ4_NL_4_4",
    37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
    39: "MXFP4",
    40: "NVFP4",
    41: "Q1_0",
}
"""Storage types that exist, or once did, and that the engine cannot read."""
