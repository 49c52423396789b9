"""Adapted files, read back by our reader and loaded by the engine's real library."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.models.adapted import convert
from app.models.gguf.header import Header
from app.models.gguf.reader import read_header, read_model_file
from app.models.model import Turn
from app.models.store import ModelStore
from app.models.text.chat_template import ChatTemplate
from app.models.text.tokenizer import Tokenizer
from tests.tiny_gguf import Flavour, write_tiny_gguf


def adapted(source: Path) -> tuple[Header, Header]:
    target = source.with_suffix(".adapted")
    model = read_model_file(source)
    convert(model, target)
    return model.header, read_header(target)


def data(header: Header, name: str) -> bytes:
    tensor = next(tensor for tensor in header.tensors if tensor.name == name)
    start = header.data_offset + tensor.offset
    return header.path.read_bytes()[start : start + tensor.size]


def test_missing_scores_and_outputs_are_added_to_the_copy(tiny: Path) -> None:
    before, after = adapted(tiny)
    tokens = after.strings("tokenizer.ggml.tokens") or []
    assert after.numbers("tokenizer.ggml.scores") == (0.0,) * len(tokens)
    assert data(after, "output.weight") == data(before, "token_embd.weight")
    for tensor in before.tensors:
        assert data(after, tensor.name) == data(before, tensor.name)


def test_byte_level_tokens_become_bytes_and_control_tokens_stay(tiny: Path) -> None:
    _, after = adapted(tiny)
    tokens = after.strings("tokenizer.ggml.tokens") or []
    assert tokens[1] == b"<|im_start|>"
    assert {b"\n", b" the", b"\xff"} <= set(tokens)


def test_sentencepiece_files_keep_their_tokens(tmp_path: Path) -> None:
    before, after = adapted(write_tiny_gguf(tmp_path / "s.gguf", flavour="spm"))
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.scores"):
        assert after.metadata[key] == before.metadata[key]
    assert len(after.tensors) == len(before.tensors)


def test_numbers_of_another_kind_are_what_the_engine_reads(tmp_path: Path) -> None:
    source = tmp_path / "n.gguf"
    write_tiny_gguf(source, **{"llama.rope.freq_base": 10000})  # type: ignore[arg-type]
    engine = CtransformersEngine(adapted(source)[1].path, 64)
    context = engine.new_context()
    try:
        assert np.isfinite(context.evaluate([5, 6], 0, 1)).all()
    finally:
        context.close()
        engine.close()


def test_progress_counts_up_to_the_end(tiny: Path) -> None:
    steps: list[tuple[int, int]] = []
    convert(read_model_file(tiny), tiny.with_suffix(".adapted"), lambda *step: steps.append(step))
    assert steps == sorted(steps)
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("flavour", ["bpe", "spm"])
@pytest.mark.parametrize("version", [1, 3])
def test_the_engine_loads_it_and_goes_on_writing(
    tmp_path: Path, store: ModelStore, flavour: Flavour, version: int
) -> None:
    model = store.install(
        write_tiny_gguf(tmp_path / "m.gguf", flavour=flavour, version=version), "m"
    )
    tokenizer = Tokenizer.load(model.folder)
    prompt = ChatTemplate(model.chat_template, tokenizer).encode([Turn("user", "What is it?")])
    engine = CtransformersEngine(model.weights_path, 256)
    context = engine.new_context()
    try:
        logits = context.evaluate(prompt, 0, 1)
        assert len(logits) == tokenizer.vocab_size
        answer: list[int] = []
        for past in range(len(prompt), len(prompt) + 150):
            answer.append(int(logits.argmax()))
            logits = context.evaluate(answer[-1:], past, 1)
    finally:
        context.close()
        engine.close()
    assert not tokenizer.end_ids & set(answer)
    assert len(set(answer)) > 30
    text = b"".join(map(tokenizer.token_bytes, answer)).decode()
    assert text.isprintable()
