"""An engine without weights: what it says is a rule, what it did is a list, pauses are injected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from app.inference.runner.engines.engine import Context, EngineError, GoOn, Logits, Slice, State
from app.inference.runner.kv.snapshot import TokenRuns

END = 0
VOCAB = 256


def alphabet(tokens: Sequence[int]) -> int:
    """Return the nth letter after n tokens: any loss in the cache would show in the text."""
    return ord("a") + len(tokens) % 26


@dataclass(frozen=True, slots=True)
class Evaluation:
    context: int
    tokens: tuple[int, ...]
    past: int
    threads: int


@dataclass
class ScriptedEngine:
    """Engine whose `rule` says which token follows; `before` is called before each evaluation."""

    rule: Callable[[Sequence[int]], int] = alphabet
    before: Callable[[Evaluation], None] = lambda evaluation: None
    context_length: int = 1000
    vocab_size: int = VOCAB
    max_slice: int = 128
    max_outputs: int = 1
    max_slices: int = 1
    max_contexts: int = 56
    is_reproducible: bool = True
    takes_rows: bool = False
    reads_whole: bool = False
    cuttable: int = 1 << 30
    most_contexts: int = 100
    contexts: list[ScriptedContext] = field(default_factory=list)
    evaluations: list[Evaluation] = field(default_factory=list)
    interrupted: int = 0

    steps: list[list[int]] = field(default_factory=list)
    """Of each step, the tokens of its slices."""
    before_step: Callable[[Sequence[Slice]], None] = lambda step: None

    identity: str = "scripted"
    copying: Callable[[str], None] = lambda what: None

    def evaluate(self, step: Sequence[Slice], threads: int) -> list[Logits]:
        assert len(step) <= self.max_slices
        assert len(step) == 1 or sum(len(part.tokens) for part in step) <= self.max_slice
        self.before_step(step)
        self.steps.append([len(part.tokens) for part in step])
        return [self._evaluate(part, threads) for part in step]

    def _evaluate(self, part: Slice, threads: int) -> Logits:
        context = self._own(part)
        rows = [context.evaluate(part.tokens, part.past, threads)]
        ends = range(len(context.tokens) - part.outputs + 1, len(context.tokens))
        rows = [*(context.logits(end) for end in ends), *rows]
        return np.array(rows)[: part.outputs]

    def _own(self, part: Slice) -> ScriptedContext:
        assert isinstance(part.context, ScriptedContext)
        return part.context

    def evaluate_aside(self, part: Slice, threads: int, go_on: GoOn | None = None) -> bool:
        return False

    def interrupt(self) -> None:
        self.interrupted += 1

    def is_state_size(self, size: int, count: int) -> bool:
        return size == 4 * count

    def new_context(self) -> ScriptedContext:
        if len(self.contexts) >= self.most_contexts:
            raise EngineError("no memory")
        self.contexts.append(ScriptedContext(self, len(self.contexts)))
        return self.contexts[-1]

    def close(self) -> None:
        pass


@dataclass
class ScriptedContext:
    engine: ScriptedEngine
    number: int
    tokens: list[int] = field(default_factory=list)
    closed: bool = False

    def evaluate(self, tokens: Sequence[int], past: int, threads: int) -> Logits:
        evaluation = Evaluation(self.number, tuple(tokens), past, threads)
        assert past <= len(self.tokens)
        self.engine.before(evaluation)
        self.engine.evaluations.append(evaluation)
        self.tokens = [*self.tokens[:past], *tokens]
        return self.logits(len(self.tokens))

    def logits(self, count: int) -> Logits:
        """After the first `count` tokens."""
        logits = np.zeros(VOCAB, np.float32)
        logits[self.engine.rule(self.tokens[:count])] = 10
        return logits

    def reach(self, count: int) -> int:
        return count

    def cut(self, count: int) -> int:
        del self.tokens[count:]
        return len(self.tokens)

    def checkpoint(self) -> None:
        pass

    def cuts(self, count: int) -> tuple[int, ...]:
        return ()

    def copy(self, source: Context, count: int) -> None:
        self.restore(source.save(count), count)

    def embedding(self) -> Logits:
        return np.array(self.tokens[-1:], np.float32)

    def save(self, count: int) -> State:
        assert not self.closed
        self.engine.copying("save")
        assert 1 <= count <= len(self.tokens)
        return np.array(self.tokens[:count], np.int32).view(np.uint8).copy()

    def restore(self, state: State, count: int) -> None:
        assert not self.closed
        self.engine.copying("restore")
        if not self.engine.is_state_size(state.size, count):
            raise ValueError("wrong size")
        self.tokens = state.view(np.int32).tolist()

    def close(self) -> None:
        self.closed = True


class Bytes:
    """A tokenizer: every byte is a token, zero ends an answer."""

    end_ids = frozenset({END})

    def marked_text(self, ids: Iterable[int]) -> str:
        return bytes(ids).decode("latin-1")

    def token_bytes(self, index: int, /) -> bytes:
        return bytes([index])

    def remember(self, prompt: Sequence[int], answer: Sequence[int], text: str, /) -> None:
        pass

    def remember_calls(self, prompt: Sequence[int], answer: Sequence[int], /) -> None:
        pass

    def token_runs(self, ids: Sequence[int], /) -> TokenRuns:
        return ()
