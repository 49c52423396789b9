"""Projectors with random weights on tiny models: what we do by hand is what the library does."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import POINTER, byref, c_bool, c_int32, c_void_p
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from app.inference.runner.engines.engine import Logits, Slice, SliceRows
from app.inference.runner.engines.llama_context import LlamaCppContext
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.engines.mtmd_library import MARKER, InputText, load_mtmd
from app.inference.runner.engines.mtmd_native import NativeProjector, ProjectorError, TokensChunk
from app.inference.runner.pictures.encoder import PictureEncoder
from app.inference.runner.pictures.image_ids import is_row
from app.models.model import TurnImage
from tests.inference.numbers import agree, evaluate
from tests.tiny_projectors import HEARING, KINDS, write_projector, write_seeing_model

CONTEXT = 1024
WIDE, HIGH = 100, 60
SAMPLES = 16_000
BEFORE, BEHIND = [70, 71, 72, 80], [90, 91, 92]


@cache
def files(kind: str) -> tuple[Path, Path]:
    folder = Path(mkdtemp(prefix="wick-seeing-"))
    model = write_seeing_model(folder / "model.gguf", kind)
    return model, write_projector(folder / "mmproj.gguf", kind)


@cache
def opened(kind: str) -> tuple[LlamaCppEngine, NativeProjector]:
    model, projector = files(kind)
    engine = LlamaCppEngine(model, CONTEXT, cells=4 * CONTEXT)
    return engine, NativeProjector(projector, engine.native)


def pixels(seed: int = 0, width: int = WIDE, height: int = HIGH) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8).tobytes()


def encoder_of(kind: str, **options: int) -> PictureEncoder:
    engine, native = opened(kind)

    def read(image: TurnImage) -> bytes:
        if image.is_sound:
            return samples(int(image.path))
        return pixels(int(image.path), image.width, image.height)

    return PictureEncoder(native, "p" * 64, engine.vocab_size, read, **options)


def samples(seed: int = 0) -> bytes:
    return np.random.default_rng(seed).uniform(-1, 1, SAMPLES).astype("<f4").tobytes()


def sound(seed: int = 0) -> TurnImage:
    return TurnImage(f"sound {seed}", str(seed), 0, 0, samples=SAMPLES)


def picture(seed: int = 0, width: int = WIDE, height: int = HIGH) -> TurnImage:
    return TurnImage(f"{seed}-{width}", str(seed), width, height)


def read(
    engine: LlamaCppEngine,
    context: LlamaCppContext,
    encoder: PictureEncoder,
    ids: list[int],
    past: int = 0,
    size: int = 512,
) -> Logits:
    """Evaluate tokens and pictures from `past` on, in slices of at most `size`."""
    spans, logits = encoder.spans(ids), np.empty((0, 0), np.float32)
    while past < len(ids):
        span = next((s for s in spans if s.start <= past < s.end), None)
        if span is None:
            end = min([past + size, len(ids), *(s.start for s in spans if s.start > past)])
            logits = engine.evaluate([Slice(context, ids[past:end], past)], 1)[0]
        else:
            end = min(past + size, span.end) if span.rows.is_causal else span.end
            place = past - span.start
            values = encoder.encode(span.rows, 1)[place : place + end - past]
            rows = SliceRows(
                values,
                place,
                len(span.rows.ids),
                span.rows.positions,
                span.rows.axes,
                is_causal=span.rows.is_causal,
            )
            engine.evaluate([Slice(context, ids[past:end], past, 0, rows=rows)], 1)
        past = end
    return np.array(logits[-1, :])


def by_helper(kind: str, tail: list[int]) -> tuple[list[int], Logits, int]:
    """Ask the library to read `BEFORE`, a picture and `tail`: ids, logits, and positions."""
    engine, native = opened(kind)
    lib = load_mtmd()
    lib.mtmd_helper_eval_chunks.argtypes = (
        *(c_void_p, c_void_p, c_void_p, c_int32, c_int32, c_int32, c_bool),
        POINTER(c_int32),
    )
    if kind == HEARING:
        bitmap = lib.mtmd_bitmap_init_from_audio(SAMPLES, samples())
    else:
        bitmap = lib.mtmd_bitmap_init(WIDE, HIGH, pixels())
    chunks = lib.mtmd_input_chunks_init()
    text = InputText(MARKER, len(MARKER), False, True)
    handle = native._handle
    assert not lib.mtmd_tokenize(handle, chunks, byref(text), (c_void_p * 1)(bitmap), 1)
    context = engine.new_context()
    evaluate(engine, context, BEFORE)
    past = c_int32(0)
    native._threads.value = 1  # type: ignore[union-attr]
    code = lib.mtmd_helper_eval_chunks(
        *(handle, engine.native._handle, chunks, len(BEFORE), context.sequence, 512),
        *(True, byref(past)),
    )
    assert code == 0
    ids = list[int]()
    for chunk in map(native._chunk, native._each(chunks)):
        ids += chunk.tokens if isinstance(chunk, TokensChunk) else [-1] * chunk.rows
    positions = past.value
    context.advance(positions)  # as if all were text, from whose end the rest is read
    logits = evaluate(engine, context, tail, positions)
    context.close()
    lib.mtmd_input_chunks_free(chunks)
    lib.mtmd_bitmap_free(bitmap)
    return ids, logits, positions


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def engine(kind: str) -> LlamaCppEngine:
    return opened(kind)[0]


@pytest.fixture
def contexts(engine: LlamaCppEngine) -> Iterator[list[LlamaCppContext]]:
    made = [engine.new_context() for _ in range(3)]
    yield made
    for context in made:
        context.close()


def test_rows_by_hand_are_those_of_the_library(
    kind: str, engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    encoder = encoder_of(kind)
    made = encoder.ids(picture())
    ids, expected, positions = by_helper(kind, BEHIND)
    assert [-1 if is_row(token) else token for token in made] == ids
    found = read(engine, contexts[0], encoder, [*BEFORE, *made, *BEHIND])
    assert agree(expected, found)
    assert contexts[0].chunks.position(len(BEFORE) + len(made)) == positions


def test_rows_of_a_sound_by_hand_are_those_of_the_library() -> None:
    (engine, _), encoder = opened(HEARING), encoder_of(HEARING)
    made = encoder.ids(sound())
    ids, expected, positions = by_helper(HEARING, BEHIND)
    assert [-1 if is_row(token) else token for token in made] == ids
    one, other = engine.new_context(), engine.new_context()
    found = read(engine, one, encoder, [*BEFORE, *made, *BEHIND])
    assert agree(expected, found)
    assert one.chunks.position(len(BEFORE) + len(made)) == positions
    second = read(engine, other, encoder, [*BEFORE, *encoder.ids(sound(1)), *BEHIND])
    assert np.abs(found - second).max() > 1e-3
    one.close()
    other.close()


def test_rows_may_be_read_in_slices(
    kind: str, engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    encoder = encoder_of(kind)
    ids = [*BEFORE, *encoder.ids(picture()), *BEHIND]
    whole = read(engine, contexts[0], encoder, ids)
    assert agree(whole, read(engine, contexts[1], encoder, ids, size=5))


def test_another_picture_says_something_else(
    kind: str, engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    encoder = encoder_of(kind)
    one, other = (encoder.ids(picture(seed)) for seed in (0, 1))
    assert one != other
    first = read(engine, contexts[0], encoder, [*BEFORE, *one, *BEHIND])
    second = read(engine, contexts[1], encoder, [*BEFORE, *other, *BEHIND])
    assert np.abs(first - second).max() > 0.1


def test_a_state_with_pictures_is_saved_restored_copied_and_cut(
    kind: str, engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    encoder = encoder_of(kind)
    shown = encoder.ids(picture())
    ids = [*BEFORE, *shown, *BEHIND]
    first, second, third = contexts
    read(engine, first, encoder, ids)
    state = first.save(len(ids))
    second.restore(state, len(ids))
    third.copy(first, len(ids))
    expected = evaluate(engine, first, [77], len(ids))
    for context in (second, third):
        assert np.array_equal(evaluate(engine, context, [77], len(ids)), expected)
    more = [*ids, *encoder.ids(picture(1)), 78]
    assert agree(
        read(engine, first, encoder, more, len(ids)), read(engine, third, encoder, more, len(ids))
    )
    back = len(BEFORE) + len(shown) + 1
    if first.reach(back) == back:
        assert first.cut(back) == back
        assert agree(read(engine, first, encoder, ids, back), read(engine, second, encoder, ids))


def test_a_sequence_is_cut_in_front_of_a_picture_but_never_inside(
    engine: LlamaCppEngine, kind: str, contexts: list[LlamaCppContext]
) -> None:
    encoder = encoder_of(kind)
    ids = [*BEFORE, *encoder.ids(picture()), *BEHIND]
    start = encoder.spans(ids)[0].start
    read(engine, contexts[0], encoder, ids)
    assert contexts[0].reach(start + 3) in (start, 0)  # 0: a window has passed it
    assert contexts[0].cut(start + 3) in (start, 0)


def test_a_picture_that_was_half_read_goes_on(
    kind: str, engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    if kind == "gemma3":
        pytest.skip("its rows are read together")
    encoder = encoder_of(kind)
    ids = [*BEFORE, *encoder.ids(picture()), *BEHIND]
    span = encoder.spans(ids)[0]
    half = span.start + 7
    rows = encoder.encode(span.rows, 1)[:7]
    first, second, _ = contexts
    evaluate(engine, first, ids[: span.start])
    given = SliceRows(rows, 0, len(span.rows.ids), span.rows.positions, span.rows.axes)
    engine.evaluate([Slice(first, ids[span.start : half], span.start, 0, rows=given)], 1)
    second.restore(first.save(half), half)
    whole = read(engine, contexts[2], encoder, ids)
    assert agree(whole, read(engine, first, encoder, ids, half))
    assert agree(whole, read(engine, second, encoder, ids, half))


def test_rows_of_another_shape_are_refused(
    kind: str, engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    encoder = encoder_of(kind)
    ids = encoder.ids(picture())
    span = encoder.spans(ids)[0]
    count, width = len(span.rows.ids), engine.native.row_width
    right = np.zeros((count, width), np.float32)
    context, rows = contexts[0], list(span.rows.ids)
    for values, total in ((right[:, 1:], count), (right[1:], count), (right, count - 1)):
        wrong = SliceRows(values, 0, total, span.rows.positions, span.rows.axes)
        with pytest.raises(ValueError, match="row"):
            engine.evaluate([Slice(context, rows, 0, 0, rows=wrong)], 1)
    with pytest.raises(ValueError, match="vocabulary"):
        engine.evaluate([Slice(context, rows, 0)], 1)
    assert context.held == 0


def test_damaged_states_with_pictures_are_refused(contexts: list[LlamaCppContext]) -> None:
    for data in (b"", b"\xff" * 40, bytes(24), b"\x01" + bytes(23)):
        with pytest.raises(ValueError, match="state"):
            contexts[0].restore(np.frombuffer(data, np.uint8), 5)


def test_a_projector_of_another_width_is_refused(kind: str, tmp_path: Path) -> None:
    wrong = write_projector(tmp_path / "mmproj.gguf", kind, width=64)
    with pytest.raises(ProjectorError, match="cannot be used"):
        NativeProjector(wrong, opened(kind)[0].native)


@pytest.mark.parametrize("size", [0, 100, 5000, 200_000])
def test_a_damaged_projector_is_refused(kind: str, tmp_path: Path, size: int) -> None:
    cut = tmp_path / "mmproj.gguf"
    cut.write_bytes(files(kind)[1].read_bytes()[:size])
    with pytest.raises(ProjectorError):
        NativeProjector(cut, opened(kind)[0].native)


def test_rows_that_no_step_can_hold_are_refused() -> None:
    with pytest.raises(ProjectorError, match="at once"):
        encoder_of("gemma3", max_rows=15)


def test_a_projector_whose_tokens_the_model_lacks_is_refused(tmp_path: Path) -> None:
    engine, _ = opened("gemma3")
    foreign = NativeProjector(write_projector(tmp_path / "mmproj.gguf", "idefics3"), engine.native)
    with pytest.raises(ProjectorError, match="another model"):
        PictureEncoder(foreign, "p" * 64, engine.vocab_size)
