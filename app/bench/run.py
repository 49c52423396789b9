"""Runs of the benchmark: the engine alone, then Wick and a peer in turns."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from app.bench.http_target import HttpTarget
from app.bench.local_target import LocalTarget
from app.bench.prompt_generator import PromptGenerator
from app.bench.workload import BenchConfig, ProgressCallback, Samples, Workload
from app.config import Settings
from app.errors import ConfigError, ModelUnsupported
from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.inference.runner.sampling import Sampler
from app.models import memory
from app.models.adapted import ensure_adapted
from app.models.model import Model, Turn
from app.models.text.chat_template import ChatTemplate
from app.models.text.tokenizer import Tokenizer

# The bare engine loop against `ctransformers.LLM`, on the same file, prompt and threads.


QUESTION = "Tell me a long story about a fox and a candle."
SLICE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Throughput:
    """tokens per second while decoding, and characters a second of the text they make."""

    tokens: float
    characters: float


def prompt_of(model: Model) -> tuple[list[int], Tokenizer]:
    tokenizer = Tokenizer.load(model.folder)
    template = ChatTemplate(model.chat_template, tokenizer)
    return template.encode([Turn("user", QUESTION)]), tokenizer


def measure_engine(model: Model, count: int, threads: int, context: int) -> Throughput:
    """Evaluate, sample, evaluate: nothing else. `count` tokens, end tokens ignored."""
    prompt, tokenizer = prompt_of(model)
    engine = CtransformersEngine(ensure_adapted(model), context)
    live = engine.new_context()
    ids = list(prompt)
    logits = live.evaluate(prompt[:SLICE_TOKENS], 0, threads)
    sampler = Sampler(model.sampling)
    started = time.perf_counter()
    for _ in range(count):
        logits[list(tokenizer.end_ids)] = -1e9
        ids.append(sampler.choose(logits, ids))
        logits = live.evaluate(ids[-1:], len(ids) - 1, threads)
    seconds = time.perf_counter() - started
    live.close()
    engine.close()
    text = b"".join(tokenizer.token_bytes(i) for i in ids[len(prompt) :]).decode("utf-8", "replace")
    return Throughput(count / seconds, len(text) / seconds)


def ctransformers_loop(model: Model, count: int, threads: int, context: int) -> float | None:
    """Tokens a second of the library's own class on the same ids, with the same settings.

    None where the library cannot be imported whole (Wick itself needs only a file of it).
    """
    try:
        from ctransformers import LLM, Config
    except (ImportError, OSError):
        return None
    prompt, _ = prompt_of(model)
    sampling = model.sampling
    llm = LLM(
        str(ensure_adapted(model)),
        model_type="llama",
        config=Config(context_length=context, threads=threads, batch_size=SLICE_TOKENS),
    )
    llm.eval(prompt)
    started = time.perf_counter()
    for _ in range(count):
        token = llm.sample(
            top_k=sampling.top_k,
            top_p=sampling.top_p,
            temperature=sampling.temperature,
            repetition_penalty=sampling.repetition_penalty,
            last_n_tokens=64,
        )
        llm.eval([token])
    return count / (time.perf_counter() - started)


# One bench from its beginning to its figures: round by round, Wick and the other take turns.


@dataclass(frozen=True, slots=True)
class Peer:
    """Server to compare with; `model` None takes the first that it names."""

    url: str
    model: str | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    ours: Samples
    theirs: Samples | None
    their_model: str


def run_benchmark(
    model: Model,
    settings: Settings,
    plan: BenchConfig,
    peer: Peer | None,
    seed: int,
    notify: ProgressCallback,
) -> BenchResult:
    """Run everything of `plan`. `seed`: another seed, other texts (servers remember old ones).

    Raises WickError: the model, the settings or the other server do not allow it.
    """
    if model.remote is not None:
        raise ModelUnsupported(
            f"{model.title} runs on another server: measure it by --against "
            f"{model.remote.upstreams[0].url}, beside a model of this machine."
        )
    window = memory.context_length(model, settings)
    if plan.longest_chat > window:
        raise ConfigError(
            f"A prompt of {plan.prompt:,} tokens with its further turns needs a context of "
            f"{plan.longest_chat:,} tokens, and here it is {window:,}: make --prompt or --tokens "
            "smaller, or WICK_CONTEXT larger."
        )
    # Nobody in the workload has to wait for a slot; what more answers cost is what it measures.
    settings = replace(settings, slots=max(settings.slots, *plan.concurrency))
    return asyncio.run(_Bench(model, settings, plan, notify, seed).run(peer))


class _Bench:
    def __init__(
        self,
        model: Model,
        settings: Settings,
        plan: BenchConfig,
        notify: ProgressCallback,
        seed: int,
    ) -> None:
        self._model = model
        self._settings = settings
        self._plan = plan
        self._notify = notify
        self._seed = seed
        self._sampling = replace(model.sampling, seed=seed)
        template = ChatTemplate(model.chat_template, Tokenizer.load(model.folder))
        self._count = lambda text: len(template.encode([Turn("user", text)]))

    async def run(self, peer: Peer | None) -> BenchResult:
        ours, theirs, other = Samples(), Samples() if peer else None, None
        # What cannot be done is better known now than in half an hour.
        trial = PromptGenerator(self._count, self._seed - 1)
        trial.prompt(1, self._plan.prompt)
        async with AsyncExitStack() as stack:
            if peer:
                other = await stack.enter_async_context(HttpTarget.open(peer.url, peer.model))
                self._notify(f"{other.name}: a first answer")
                await self._workload(other, trial).warm_up()
            for number in range(self._plan.rounds):
                texts = PromptGenerator(self._count, self._seed + number)
                await self._wick(texts, ours)
                if other and theirs is not None:
                    workload = self._workload(other, texts)
                    await workload.run(theirs, self._notify)
                    await workload.measure_interference(theirs, self._notify)
        return BenchResult(ours, theirs, other.model if other else "")

    def _engine(self, samples: Samples) -> None:
        """Measure the engine in this process, while Wick's runner is idle."""
        settings, plan = self._settings, self._plan
        context = memory.context_length(self._model, settings)
        self._notify("The engine alone")
        pace = measure_engine(self._model, plan.tokens, settings.threads, context)
        samples.add("bare", pace.tokens)
        self._notify("ctransformers.LLM")
        samples.add(
            "ctransformers",
            ctransformers_loop(self._model, plan.tokens, settings.threads, context),
        )

    async def _wick(self, texts: PromptGenerator, samples: Samples) -> None:
        """Measure runners of its own, in a folder of its own on the disk that Wick would use."""
        data = self._settings.data_dir
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = tempfile.TemporaryDirectory(prefix="bench-", dir=data)
        except OSError as error:
            raise ConfigError(f"WICK_DATA_DIR={data} cannot be used: {error.strerror}.") from error
        with folder:
            private = replace(self._settings, data_dir=Path(folder.name) / "all")
            self._notify("Wick: loading the model")
            async with LocalTarget.open(self._model, private, private.data_dir) as target:
                samples.add("load", target.load_seconds)
                samples.add("memory_loaded", target.memory())
                workload = self._workload(target, texts, self._engine)
                await workload.run(samples, self._notify)
            loose = replace(private, data_dir=Path(folder.name) / "beside")
            async with LocalTarget.open(
                self._model, loose, loose.data_dir, by_token=True
            ) as target:
                await self._workload(target, texts).measure_interference(samples, self._notify)
            single = replace(private, threads=1, data_dir=Path(folder.name) / "one")
            async with LocalTarget.open(self._model, single, single.data_dir) as target:
                await self._workload(target, texts).measure_single(samples, self._notify)

    def _workload(
        self,
        target: LocalTarget | HttpTarget,
        texts: PromptGenerator,
        compared: Callable[[Samples], None] = lambda samples: None,
    ) -> Workload:
        return Workload(target, self._plan, texts, self._sampling, compared)
