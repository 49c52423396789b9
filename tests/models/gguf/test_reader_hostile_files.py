"""Thousands of damaged files: each is refused in words or is a sound model, in little memory."""

from __future__ import annotations

import struct
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from app.errors import ModelError, ModelFileError
from app.models.gguf import tokens
from app.models.gguf.compatibility import check_compatible
from app.models.gguf.reader import read_header, read_model_file
from app.models.store import ModelStore
from tests.models.gguf.damage import damaged
from tests.models.gguf.test_reader_split import parts_of, write
from tests.tiny_gguf import (
    Flavour,
    bpe_vocabulary,
    encode,
    sizes,
    spm_vocabulary,
    weights,
    write_tiny_gguf,
)

CONSTANT = 16 << 20
"""Bytes that reading a header may take besides the file's own size."""
FORMS: list[tuple[Flavour, int]] = [("bpe", 3), ("spm", 3), ("bpe", 1), ("spm", 2)]


def assert_refused_or_sound(path: Path) -> bool:
    """Whether it was refused: a file is read as when it is installed, and errors are sentences."""
    try:
        check_compatible(read_model_file(path).header)
    except ModelError as error:
        text = str(error)
        assert text[0].isalnum()
        assert text.endswith(".")
        assert len(text) < 600
        return True
    return False


def tiny_file(path: Path, flavour: Flavour, version: int) -> tuple[bytes, int]:
    """Its bytes, and how many of them are its header."""
    write_tiny_gguf(path, flavour=flavour, version=version)
    return path.read_bytes(), read_header(path).data_offset


@pytest.mark.parametrize(("flavour", "version"), FORMS)
def test_damaged_headers(tmp_path: Path, flavour: Flavour, version: int) -> None:
    path = tmp_path / "m.gguf"
    data, header = tiny_file(path, flavour, version)
    refused = 0
    for changed in damaged(data, header, count=600, seed=version):
        path.write_bytes(changed)
        refused += assert_refused_or_sound(path)
    assert refused > 300


def test_a_file_cut_anywhere_is_refused_or_sound(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    data, header = tiny_file(path, "bpe", 3)
    for length in [*range(64), *range(64, header, 17), *range(header, len(data), 4_001)]:
        path.write_bytes(data[:length])
        assert assert_refused_or_sound(path)


def test_damaged_parts(tmp_path: Path) -> None:
    parts = parts_of(3)
    for index, part in enumerate(parts):
        for changed in damaged(part, min(len(part), 2_000), count=120, seed=index):
            paths = write(tmp_path, parts)
            paths[index].write_bytes(changed)
            assert_refused_or_sound(paths[0])


def test_reading_takes_the_file_s_size_and_a_constant(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    data, header = tiny_file(path, "bpe", 3)
    tracemalloc.start()
    try:
        for changed in damaged(data, header, count=150, seed=7):
            path.write_bytes(changed)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            assert_refused_or_sound(path)
            assert tracemalloc.get_traced_memory()[1] - before < len(changed) + CONSTANT
    finally:
        tracemalloc.stop()


def strings(count: int, text: bytes) -> bytes:
    return struct.pack("<IQ", 8, count) + (struct.pack("<Q", len(text)) + text) * count


GREEDY = {
    "tokens": strings(40_000, b"ab"),
    "merges": strings(60_000, b"a"),
    "pairs of numbers": struct.pack("<IQ", 9, 30_000) + struct.pack("<IQI", 4, 1, 7) * 30_000,
}


@pytest.mark.parametrize("name", GREEDY)
def test_long_lists_are_counted_before_they_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(tokens, "MAX_VOCABULARY", 10_000)
    monkeypatch.setattr(tokens, "MAX_MERGES", 10_000)
    path = tmp_path / "m.gguf"
    data, _ = tiny_file(path, "bpe", 3)
    key = f"tokenizer.ggml.{name}".encode()
    # Named apart from the file's own list, of which only the name is spoiled.
    data = data.replace(key + struct.pack("<I", 9), b"x" * len(key) + struct.pack("<I", 9))
    (keys,) = struct.unpack_from("<Q", data, 16)
    entry = struct.pack("<Q", len(key)) + key + struct.pack("<I", 9) + GREEDY[name]
    path.write_bytes(data[:16] + struct.pack("<Q", keys + 1) + entry + data[24:])
    size = path.stat().st_size
    tracemalloc.start()
    try:
        assert_refused_or_sound(path)
        # The file is read, and its list kept once as bytes.
        assert tracemalloc.get_traced_memory()[1] < 2 * size + (1 << 20)
    finally:
        tracemalloc.stop()


TOKENIZERS = """
import resource, sys
from pathlib import Path
from app.errors import ModelError
from app.models.gguf.compatibility import check_compatible
from app.models.gguf.reader import read_header
from app.models.text.tokenizer import Tokenizer
from app.models.text.tokenizer_builder import save_tokenizer

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

before = peak()
for path in sorted(Path(sys.argv[1]).glob("*.gguf")):
    try:
        header = read_header(path)
        check_compatible(header)
        save_tokenizer(header, path.parent)
        Tokenizer.load(path.parent)
        output = "fine"
    except ModelError as error:
        output = str(error)
    print(path.stem, peak() - before - path.stat().st_size, output, sep=";")
"""


def spm_file(path: Path, more: list[str], kind: int = 1) -> None:
    """The tiny model with more tokens."""
    vocabulary = spm_vocabulary()
    tokens = vocabulary["tokenizer.ggml.tokens"]
    kinds = vocabulary["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list)
    assert isinstance(kinds, list)
    vocabulary |= {
        "tokenizer.ggml.tokens": tokens + more,
        "tokenizer.ggml.token_type": kinds + [kind] * len(more),
        "tokenizer.ggml.scores": [0.0] * (len(tokens) + len(more)),
    }
    metadata = sizes(512) | vocabulary
    path.write_bytes(encode(metadata, weights(tokens + more, 0, tied=True)))


def test_tokenizers_of_hostile_files_take_little_memory(tmp_path: Path) -> None:
    """In a process of its own, whose peak the system tells: most is taken outside of Python."""
    ways = [letter * length for letter in "abc" for length in range(2, tokens.MAX_TOKEN_BYTES)]
    spm_file(tmp_path / "many-ways.gguf", ways)
    for name, kind in (("marks", 3), ("own", 4)):
        long = [f"<|{number:04}{'x' * 786}|>" for number in range(1_200)]
        spm_file(tmp_path / f"{name}.gguf", long, kind)
        spm_file(
            tmp_path / f"{name}-too-long.gguf", [f"{text}{text[4:150]}" for text in long], kind
        )
    merges = bpe_vocabulary()["tokenizer.ggml.merges"]
    assert isinstance(merges, list)
    repeated = {"tokenizer.ggml.merges": merges + [merges[0]] * 300_000}
    write_tiny_gguf(tmp_path / "merges.gguf", **repeated)  # type: ignore[arg-type]
    command = [sys.executable, "-c", TOKENIZERS, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    output = {
        name: (int(grown), text) for name, grown, text in map(split_line, done.stdout.splitlines())
    }
    assert len(output) == 6
    assert "in too many ways" in output["many-ways"][1]
    assert "special tokens" in output["marks-too-long"][1]
    assert output["marks"][1] == output["own"][1] == output["merges"][1] == "fine"
    assert max(grown for grown, _ in output.values()) < 200 << 20, output


def split_line(line: str) -> list[str]:
    return line.split(";", 2)


def test_a_huge_token_is_refused(tmp_path: Path) -> None:
    tokens = spm_vocabulary()["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tokens[-1] = "a" * 1_025
    path = write_tiny_gguf(tmp_path / "m.gguf", flavour="spm", **{"tokenizer.ggml.tokens": tokens})  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match="1,025 bytes long"):
        check_compatible(read_header(path))


def test_many_special_tokens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_SPECIAL_TOKENS", 1)
    with pytest.raises(ModelFileError, match="special tokens"):
        check_compatible(read_header(write_tiny_gguf(tmp_path / "m.gguf")))


def test_byte_tokens_name_a_byte(tmp_path: Path) -> None:
    tokens = spm_vocabulary()["tokenizer.ggml.tokens"]
    assert isinstance(tokens, list)
    tokens[tokens.index("<0x41>")] = "<0xZZ>"
    path = write_tiny_gguf(tmp_path / "m.gguf", flavour="spm", **{"tokenizer.ggml.tokens": tokens})  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match="names no byte"):
        check_compatible(read_header(path))


ENGINE = """
import sys
from pathlib import Path
from app.errors import ModelLoadError
from app.inference.runner.engines.ctransformers import CtransformersEngine
for weights in sorted(Path(sys.argv[1]).glob("*/model.gguf")):
    try:
        engine = CtransformersEngine(weights, 64)
    except ModelLoadError:
        continue
    context = engine.new_context()
    context.evaluate([5, 6, 7], 0, 1)
    context.close()
    engine.close()
"""


def test_a_damaged_file_that_is_let_through_does_not_end_the_engine(tmp_path: Path) -> None:
    path, store = tmp_path / "m.gguf", ModelStore(tmp_path / "models")
    installed = 0
    for flavour, version in FORMS[:2]:
        data, header = tiny_file(path, flavour, version)
        for changed in damaged(data, header, count=100, seed=11):
            path.write_bytes(changed)
            if assert_refused_or_sound(path):
                continue
            try:
                store.install(path, f"m{installed}")
            except ModelError:
                continue
            installed += 1
    assert installed > 10
    command = [sys.executable, "-c", ENGINE, str(store.root)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0
