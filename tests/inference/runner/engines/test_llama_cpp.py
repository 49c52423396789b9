"""Today's llama.cpp on tiny models of today's architectures."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest

from app.errors import ModelLoadError
from app.inference.runner.engines import llama_library
from app.inference.runner.engines.engine import CacheFull, EngineError, Slice, StepInterrupted
from app.inference.runner.engines.llama_batches import BatchItem
from app.inference.runner.engines.llama_context import LlamaCppContext
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.engines.llama_library import Batch
from tests.inference.numbers import agree, evaluate
from tests.tiny_architectures import DECODERS, RECURRENT, WINDOWED, write_architecture

CONTEXT = 256
CUTTABLE = tuple(name for name in DECODERS if name not in (*RECURRENT, WINDOWED))


@cache
def weights(name: str) -> Path:
    return write_architecture(Path(mkdtemp(prefix="wick-tiny-")) / f"{name}.gguf", name)


@cache
def opened(name: str) -> LlamaCppEngine:
    """Kept for all tests, since opening one costs more than what they do with it."""
    return LlamaCppEngine(weights(name), CONTEXT, cells=4 * CONTEXT)


@pytest.fixture(params=DECODERS)
def engine(request: pytest.FixtureRequest) -> LlamaCppEngine:
    return opened(request.param)


@pytest.fixture
def contexts(engine: LlamaCppEngine) -> Iterator[list[LlamaCppContext]]:
    made = [engine.new_context() for _ in range(4)]
    yield made
    for context in made:
        context.close()


@pytest.fixture
def context(contexts: list[LlamaCppContext]) -> LlamaCppContext:
    return contexts[0]


def ids(count: int, seed: int = 0) -> list[int]:
    return random.Random(seed).choices(range(3, 400), k=count)


def test_slices_say_what_the_whole_says(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    prompt = ids(150)
    whole = evaluate(engine, contexts[0], prompt)
    for start, end in ((0, 7), (7, 8), (8, 100), (100, 150)):
        sliced = evaluate(engine, contexts[1], prompt[start:end], start)
    assert agree(whole, sliced)


def test_one_step_works_on_many_contexts(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    """Some read, some write; each gets what it would get alone."""
    alone, *several = contexts
    prompts = [ids(20, 1), ids(90, 2), ids(50, 3)]
    expected = [evaluate(engine, alone, prompt) for prompt in prompts]
    for context, prompt, held in zip(several, prompts, (19, 49, 0), strict=True):
        if held:
            evaluate(engine, context, prompt[:held])
    step = [
        Slice(context, prompt[held:], held)
        for context, prompt, held in zip(several, prompts, (19, 49, 0), strict=True)
    ]
    for found, wanted in zip(engine.evaluate(step, 2), expected, strict=True):
        assert found.shape == (1, engine.vocab_size)
        assert agree(wanted, found[0])


def test_the_logits_that_were_asked_for_are_given(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    one, other, third = contexts[:3]
    prompt = ids(12)
    step = [Slice(one, prompt, 0, outputs=3), Slice(other, prompt, 0, outputs=0)]
    several, none = engine.evaluate(step, 1)
    assert several.shape == (3, engine.vocab_size)
    assert none.shape == (0, engine.vocab_size)
    for index in range(3):
        assert agree(evaluate(engine, third, prompt[: 10 + index]), several[index])


def test_a_saved_state_goes_on_elsewhere(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    one, other = contexts[:2]
    evaluate(engine, one, ids(60))
    state = one.save(60)
    expected = evaluate(engine, one, [7], 60)
    evaluate(engine, other, ids(30, 5))
    other.restore(state, 60)
    assert other.held == 60
    assert agree(expected, evaluate(engine, other, [7], 60))


@pytest.mark.parametrize("name", CUTTABLE)
def test_a_cache_can_be_cut_anywhere(name: str) -> None:
    engine = opened(name)
    context = engine.new_context()
    fresh = engine.new_context()
    evaluate(engine, context, ids(100))
    for count in (90, 64, 33, 1):
        assert context.reach(count) == count
        assert context.cut(count) == count
        went_on = evaluate(engine, context, [9, 8], count)
        assert agree(evaluate(engine, fresh, [*ids(100)[:count], 9, 8]), went_on)
    context.close()
    fresh.close()


@pytest.mark.parametrize("name", CUTTABLE)
def test_a_saved_state_may_be_shorter_than_what_the_context_holds(name: str) -> None:
    engine = opened(name)
    one, other = engine.new_context(), engine.new_context()
    evaluate(engine, one, ids(80))
    other.restore(one.save(50), 50)
    assert one.held == 80
    assert agree(evaluate(engine, one, [5], 50), evaluate(engine, other, [5], 50))
    one.close()
    other.close()


def test_a_window_that_is_not_full_can_be_cut_anywhere() -> None:
    engine = opened(WINDOWED)
    context, fresh = engine.new_context(), engine.new_context()
    evaluate(engine, context, ids(30))
    assert context.cut(11) == 11
    went_on = evaluate(engine, context, [9, 8], 11)
    assert agree(evaluate(engine, fresh, [*ids(30)[:11], 9, 8]), went_on)
    context.close()
    fresh.close()


@pytest.mark.parametrize("name", [*RECURRENT, WINDOWED])
def test_a_state_that_cannot_be_cut_goes_back_to_a_checkpoint(name: str) -> None:
    engine = opened(name)
    context, fresh = engine.new_context(), engine.new_context()
    prompt = ids(100)
    for start, end in ((0, 30), (30, 60), (60, 100)):
        evaluate(engine, context, prompt[start:end], start)
        context.checkpoint()
    evaluate(engine, context, [4, 5, 6], 100)
    assert [context.reach(count) for count in (103, 102, 100, 99, 60, 45, 29)] == [
        *(103, 100, 100, 60, 60, 30, 0)
    ]
    with pytest.raises(EngineError):
        evaluate(engine, context, [1], 29)
    evaluate(engine, context, prompt[:60])
    context.checkpoint()
    evaluate(engine, context, prompt[60:], 60)
    assert context.cut(99) == 60
    expected = evaluate(engine, fresh, [*prompt[:60], 9, 8])
    assert agree(expected, evaluate(engine, context, [9, 8], 60))
    assert context.cut(10) == 0
    assert agree(expected, evaluate(engine, context, [*prompt[:60], 9, 8]))
    context.close()
    fresh.close()


def test_a_beginning_is_shared_without_harm(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    one, other, fresh = contexts[:3]
    prompt = ids(100)
    evaluate(engine, one, prompt[:70])
    one.checkpoint()
    evaluate(engine, one, prompt[70:], 70)
    other.copy(one, 70)
    assert (one.held, other.held) == (100, 70)
    changed = evaluate(engine, other, [9, 9, 9], 70)
    assert agree(evaluate(engine, fresh, [*prompt[:70], 9, 9, 9]), changed)
    went_on = evaluate(engine, one, [7], 100)
    assert agree(evaluate(engine, fresh, [*prompt, 7]), went_on)
    one.close()
    assert agree(changed, evaluate(engine, other, [9, 9, 9], 70)) or engine.cuttable < CONTEXT


def test_an_embedding_disturbs_nobody(
    engine: LlamaCppEngine, contexts: list[LlamaCppContext]
) -> None:
    one, other, fresh = contexts[:3]
    step = [Slice(one, ids(40), 0, outputs=0, embedding=True), Slice(other, ids(20, 3), 0)]
    none, theirs = engine.evaluate(step, 1)
    meaning = one.embedding()
    assert none.size == 0
    assert meaning.shape == (engine.embedding_size,)
    assert meaning.any()
    assert agree(evaluate(engine, fresh, ids(20, 3)), theirs[0])
    with pytest.raises(EngineError):
        other.embedding()
    fresh.cut(0)
    engine.evaluate([Slice(fresh, ids(40), 0, outputs=0, embedding=True)], 1)
    np.testing.assert_allclose(fresh.embedding(), meaning, atol=0.05)
    went_on = evaluate(engine, one, [7], 40)
    other.cut(0)
    assert agree(evaluate(engine, other, [*ids(40), 7]), went_on)


@pytest.mark.parametrize(
    ("tokens", "past", "outputs"),
    [
        ([], 0, 0),
        ([1] * (CONTEXT + 1), 0, 1),
        ([-1], 0, 1),
        ([10**6], 0, 1),
        ([1], -1, 1),
        ([1], CONTEXT, 1),
        ([1, 2], CONTEXT - 1, 1),
        ([1, 2], 0, 3),
        ([1, 2], 0, -1),
        ([1] * 100, 0, 64),
    ],
)
def test_arguments_that_would_crash_the_library_are_refused(
    tokens: list[int], past: int, outputs: int
) -> None:
    engine = opened("qwen3")
    context = engine.new_context()
    with pytest.raises(ValueError):
        engine.evaluate([Slice(context, tokens, past, outputs)], 1)
    context.close()
    with pytest.raises(ValueError):
        engine.evaluate([Slice(context, [1], 0)], 1)


def test_a_step_works_on_each_context_once() -> None:
    engine = opened("qwen3")
    context = engine.new_context()
    with pytest.raises(ValueError):
        engine.evaluate([Slice(context, [1], 0), Slice(context, [2], 1)], 1)
    context.close()


@pytest.mark.parametrize("name", ["llama", "gemma3"])
def test_an_interrupted_step_changes_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = opened(name)
    one, other = engine.new_context(), engine.new_context()
    evaluate(engine, one, ids(200))
    expected = evaluate(engine, other, [*ids(200), 7])
    step = [Slice(one, [7], 200), Slice(other, ids(40), 201)]
    arrays = engine.native._arrays
    fill = arrays.fill

    def interrupted(items: Iterable[BatchItem]) -> Batch:
        engine.interrupt()
        return fill(items)

    with monkeypatch.context() as patch:
        patch.setattr(arrays, "fill", interrupted)
        with pytest.raises(StepInterrupted):
            engine.evaluate(step, 1)
    assert (one.held, other.held) == (200, 201)
    found, _ = engine.evaluate(step, 1)
    assert agree(expected, found[-1])
    one.close()
    other.close()


def test_a_full_pool_changes_nothing_and_frees_cells_with_a_cut() -> None:
    engine = LlamaCppEngine(weights("qwen3"), CONTEXT, contexts=3, cells=CONTEXT)
    one, other, third = (engine.new_context() for _ in range(3))
    with pytest.raises(EngineError):
        engine.new_context()
    evaluate(engine, one, ids(200))
    state = one.save(200)
    expected = evaluate(engine, other, ids(20))
    with pytest.raises(CacheFull):
        engine.evaluate([Slice(other, [1], 20), Slice(third, ids(100), 0)], 1)
    with pytest.raises(CacheFull):
        third.restore(state, 200)
    assert (one.held, other.held, third.held) == (200, 20, 0)
    assert agree(expected, evaluate(engine, other, ids(20)[-1:], 19))
    one.cut(0)
    third.restore(state, 200)
    assert third.held == 200
    one.copy(third, 200)  # shared: no further cells
    assert evaluate(engine, one, [3], 200).any()
    for context in (one, other, third):
        context.close()
    engine.close()


def test_bytes_that_are_no_state_are_refused(
    engine: LlamaCppEngine, context: LlamaCppContext
) -> None:
    evaluate(engine, context, ids(30))
    good = context.save(30)
    for wrong in (good[:-1].copy(), good[::2], good.reshape(-1, 2), np.empty(0, np.uint8)):
        with pytest.raises(ValueError):
            context.restore(wrong, 30)
        assert context.held == 0
    for count in (31, 29, 0, CONTEXT + 1):
        with pytest.raises(ValueError):
            context.restore(good, count)
    context.restore(good, 30)
    assert context.held == 30


def test_no_bytes_can_crash_a_restore(engine: LlamaCppEngine, context: LlamaCppContext) -> None:
    chance = random.Random(1)
    evaluate(engine, context, ids(30))
    good = context.save(30)
    for number in range(60):
        state = good.copy()
        for _ in range(chance.randint(1, 8)):
            place = chance.randrange(min(64, state.size) if number % 2 else state.size)
            state[place] = chance.randrange(256)
        state = state[: chance.randint(1, state.size)].copy() if number % 5 == 0 else state
        try:
            context.restore(state, 30)
        except (ValueError, CacheFull):
            assert context.held == 0
        else:
            engine.evaluate([Slice(context, [5], 30)], 1)


def test_an_encoder_gives_one_embedding_for_a_text() -> None:
    engine = LlamaCppEngine(weights("bert"), CONTEXT)
    assert engine.is_encoder
    context = engine.new_context()
    found = []
    for text in ([2, 5, 6, 3], [2, 9, 12, 15, 3], [2, 5, 6, 3]):
        engine.evaluate([Slice(context, text, 0, outputs=0, embedding=True)], 1)
        found.append(context.embedding())
    assert np.array_equal(found[0], found[2])
    assert not np.allclose(found[0], found[1], atol=0.01)
    context.close()
    engine.close()


def test_keys_and_values_of_eight_bits_say_almost_the_same() -> None:
    narrow = LlamaCppEngine(weights("qwen3"), CONTEXT, kv_type="q8_0")
    wide = opened("qwen3")
    assert narrow.identity.endswith(" q8_0")
    one, other = narrow.new_context(), wide.new_context()
    assert agree(evaluate(wide, other, ids(100)), evaluate(narrow, one, ids(100)), most=0.02)
    assert one.save(100).size < 0.6 * other.save(100).size
    with pytest.raises(ValueError):
        one.restore(other.save(100), 100)
    other.close()
    narrow.close()


def test_its_tokenizer_keeps_control_tokens_out_of_texts() -> None:
    engine = opened("qwen3")
    text = "<|im_start|>the people"
    assert engine.native.tokenize(text, special=True)[0] == 1
    assert 1 not in engine.encode(text)


def test_loading_reports_its_progress() -> None:
    reported: list[float] = []
    LlamaCppEngine(weights("qwen3"), CONTEXT, reported.append).close()
    assert reported == sorted(reported)
    assert reported[-1] == 1.0


def test_a_damaged_file_is_refused_with_the_librarys_reason(tmp_path: Path) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(weights("qwen3").read_bytes()[:-2000])
    with pytest.raises(ModelLoadError, match=r"cannot load this model: .*error"):
        LlamaCppEngine(path, CONTEXT)
    with pytest.raises(ModelLoadError, match="cannot load this model"):
        LlamaCppEngine(tmp_path / "missing.gguf", CONTEXT)


def test_another_layout_is_refused_in_words() -> None:
    params = llama_library.load_library().llama_context_default_params()
    llama_library.check_layout(params, {"n_ctx": 512})
    with pytest.raises(ModelLoadError, match="is not the one that Wick was made for"):
        llama_library.check_layout(params, {"n_ctx": 513})


def test_a_missing_system_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: str) -> object:
        raise OSError("libgomp.so.1: cannot open shared object file: No such file or directory")

    llama_library.load_library.cache_clear()
    monkeypatch.setattr(llama_library, "CDLL", fail)
    with pytest.raises(ModelLoadError, match="install the package libgomp1"):
        llama_library.load_library()
    llama_library.load_library.cache_clear()


def test_the_package_is_never_imported() -> None:
    alone = "import sys; from app.inference.runner.engines import llama_library as it;"
    alone += " it.load_library(); sys.exit('xllamacpp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", alone], check=False).returncode == 0


CHILD = """
import sys
from pathlib import Path
from app.errors import ModelLoadError
from app.inference.runner.engines.engine import EngineError, Slice
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.engines.llama_library import Batch
from app.inference.runner.engines.llama_batches import BatchItem
try:
    engine = LlamaCppEngine(Path(sys.argv[1]), 64, contexts=2)
    context = engine.new_context()
    if not engine.is_encoder:
        engine.evaluate([Slice(context, [1, 2], 0)], 1)
except (ModelLoadError, EngineError, ValueError) as error:
    sys.exit(f"refused: {error}")
"""
ENDS = {0: "sound", 1: "refused", -6: "aborted", -8: "crashed", -11: "crashed"}


def end_of_child(path: Path) -> str:
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, str(path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ended.returncode == 1:
        assert "refused: The engine" in ended.stderr, ended.stderr
    return ENDS[ended.returncode]


def test_hostile_headers_end_in_a_sentence_or_end_the_child_alone(tmp_path: Path) -> None:
    """Some assertions of the library abort the process: that is what the child is for."""
    chance = random.Random(7)
    path = tmp_path / "hostile.gguf"
    ends = []
    for number in range(8):
        data = bytearray(weights(DECODERS[number % len(DECODERS)]).read_bytes())
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(4, 900)] = chance.randrange(256)
        path.write_bytes(data)
        ends.append(end_of_child(path))
    assert ends.count("refused") + ends.count("sound") >= len(ends) // 2
