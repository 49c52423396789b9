"""A voice model of some kilobytes with random weights: it loads, and what it writes is noise."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import ctranslate2
import numpy as np
from tokenizers import Tokenizer, models

HEADS, WIDTH, BANDS = 2, 16, 80
WORDS: Final = [f"w{number}" for number in range(60)]
SPECIAL: Final = [
    *("<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>"),
    *("<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
]
TOKENS: Final = [*WORDS, *SPECIAL, *(f"<|{number * 0.02:.2f}|>" for number in range(1501))]
SHAPES: Final = {
    "conv1/weight": (WIDTH, BANDS, 3),
    "conv2/weight": (WIDTH, WIDTH, 3),
    "embeddings/weight": (len(TOKENS), WIDTH),
    "projection/weight": (len(TOKENS), WIDTH),
    "self_attention/linear_0/weight": (3 * WIDTH, WIDTH),
    "attention/linear_0/weight": (WIDTH, WIDTH),
    "self_attention/linear_1/weight": (WIDTH, WIDTH),
    "attention/linear_1/weight": (2 * WIDTH, WIDTH),
    "attention/linear_2/weight": (WIDTH, WIDTH),
    "ffn/linear_0/weight": (4 * WIDTH, WIDTH),
    "ffn/linear_1/weight": (WIDTH, 4 * WIDTH),
    "gamma": (WIDTH,),
    "beta": (WIDTH,),
}


def write_tiny_whisper(folder: Path) -> Path:
    """Write the model into `folder`, which it makes; always the same."""
    folder.mkdir(parents=True)
    spec = ctranslate2.specs.WhisperSpec(1, HEADS, 1, HEADS)
    random = np.random.default_rng(7)
    for name, value in spec.variables().items():
        if value is None:
            shape = next(shape for ending, shape in SHAPES.items() if name.endswith(ending))
            _set(spec, name, random.normal(0, 0.5, shape).astype(np.float32))
    for part, length in ((spec.encoder, 1500), (spec.decoder, 448)):
        part.position_encodings.encodings = random.normal(0, 0.1, (length, WIDTH)).astype("f4")
    spec.config.lang_ids = [TOKENS.index("<|en|>"), TOKENS.index("<|de|>")]
    spec.config.suppress_ids, spec.config.suppress_ids_begin = [], []
    spec.config.alignment_heads = [(0, 0)]
    spec.register_vocabulary(TOKENS)
    spec.validate()
    spec.save(str(folder))
    vocabulary = {token: number for number, token in enumerate(TOKENS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=WORDS[0]))
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def _set(spec: Any, name: str, value: Any) -> None:
    *path, last = name.split("/")
    for step in path:
        several, _, number = step.rpartition("_")
        spec = getattr(spec, step) if hasattr(spec, step) else getattr(spec, several)[int(number)]
    setattr(spec, last, value)
