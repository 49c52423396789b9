"""Runs of the benchmark: the engine alone, Wick on each engine and a peer in turns."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from app.bench.http_target import HttpTarget
from app.bench.local_target import LocalTarget
from app.bench.prompt_generator import PromptGenerator
from app.bench.workload import BenchConfig, ProgressCallback, Samples, Workload
from app.config import Settings
from app.errors import ConfigError, ModelUnsupported
from app.inference.runner.engines.ctransformers import CtransformersEngine
from app.inference.runner.engines.llama_cpp import LlamaCppEngine
from app.inference.runner.sampling import Sampler
from app.models import memory
from app.models.adapted import ensure_adapted
from app.models.engines import CTRANSFORMERS, ENGINES, available_engines
from app.models.model import Model, Turn
from app.models.text.builtin_templates import template_of
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
    template = ChatTemplate(template_of(model), tokenizer)
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


# One bench from its beginning to its figures: round by round, and within them in turns.


@dataclass(frozen=True, slots=True)
class Peer:
    """Server to compare with; `model` None takes the first that it names."""

    url: str
    model: str | None


@dataclass(frozen=True, slots=True)
class BenchResult:
    """`second`: of the engine that Wick would not have chosen, where both were wanted."""

    engine: str
    ours: Samples
    second_engine: str
    second: Samples | None
    theirs: Samples | None
    their_model: str


def models_by_engine(model: Model, wanted: str) -> list[Model]:
    """The model as each of the wanted engines runs it: `auto`, one by name, or `both`, of which
    the first is the one that Wick chooses. Raises ModelUnsupported."""
    if model.remote is not None:
        raise ModelUnsupported(
            f"{model.title} runs on another server: measure it by --against "
            f"{model.remote.upstreams[0].url}, beside a model of this machine."
        )
    if wanted == "auto":
        return [model]
    names = ENGINES if wanted == "both" else [name for name in ENGINES if name == wanted]
    for name in names:
        if name not in model.runs_on():
            raise ModelUnsupported(f"{name} can't run {model.title}.")
        if name not in available_engines():
            raise ModelUnsupported(f"{name} is not installed here.")
    names = sorted(names, key=lambda name: name != model.engine)
    return [replace(model, settings=replace(model.settings, engine=name)) for name in names]


def run_benchmark(
    models: Sequence[Model],
    settings: Settings,
    plan: BenchConfig,
    peer: Peer | None,
    seed: int,
    notify: ProgressCallback,
) -> BenchResult:
    """Run everything of `plan`. `models`: one, as `models_by_engine` gives it; `seed`: another
    seed, other texts (servers remember old ones).

    Raises WickError: the model, the settings or the other server do not allow it.
    """
    window = memory.context_length(models[0], settings)
    if plan.longest_chat > window:
        raise ConfigError(
            f"A prompt of {plan.prompt:,} tokens with its further turns needs a context of "
            f"{plan.longest_chat:,} tokens, and here it is {window:,}: make --prompt or --tokens "
            "smaller, or WICK_CONTEXT larger."
        )
    # Nobody in the workload has to wait for a slot; what more answers cost is what it measures.
    settings = replace(settings, slots=max(settings.slots, *plan.concurrency))
    with counting_tokens(models[0]) as count:
        return asyncio.run(_Bench(models, settings, plan, notify, seed, count).run(peer))


@contextmanager
def counting_tokens(model: Model) -> Iterator[Callable[[str], int]]:
    """Yield what counts the tokens of a prompt, as the model's runner would."""
    native = None
    if model.tokenizer != "wick":
        native = LlamaCppEngine(model.original_paths[0], context_length=64, contexts=1)
    try:
        template = ChatTemplate(template_of(model), Tokenizer.load(model.folder, native))
        yield lambda text: len(template.encode([Turn("user", text)]))
    finally:
        if native is not None:
            native.close()


@dataclass(frozen=True, slots=True)
class _Contender:
    """An engine of Wick with what was measured of it."""

    model: Model
    samples: Samples

    @property
    def name(self) -> str:
        return f"Wick on {self.model.engine}"


class _Bench:
    def __init__(
        self,
        models: Sequence[Model],
        settings: Settings,
        plan: BenchConfig,
        notify: ProgressCallback,
        seed: int,
        count: Callable[[str], int],
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._notify = notify
        self._seed = seed
        self._sampling = replace(models[0].sampling, seed=seed)
        self._count = count
        self._contenders = [_Contender(model, Samples()) for model in models]

    async def run(self, peer: Peer | None) -> BenchResult:
        theirs, other = Samples() if peer else None, None
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
                with self._folder() as folder:
                    await self._round(texts, folder, other, theirs)
        first, *rest = self._contenders
        return BenchResult(
            engine=first.model.engine,
            ours=first.samples,
            second_engine=rest[0].model.engine if rest else "",
            second=rest[0].samples if rest else None,
            theirs=theirs,
            their_model=other.model if other else "",
        )

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        """A folder of its own on the disk that Wick would use."""
        data = self._settings.data_dir
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder = tempfile.TemporaryDirectory(prefix="bench-", dir=data)
        except OSError as error:
            raise ConfigError(f"WICK_DATA_DIR={data} cannot be used: {error.strerror}.") from error
        with folder:
            yield Path(folder.name)

    async def _round(
        self,
        texts: PromptGenerator,
        folder: Path,
        other: HttpTarget | None,
        theirs: Samples | None,
    ) -> None:
        """Measure each part of all targets before the next one: a machine's speed changes from
        minute to minute, and only what is measured side by side can be compared."""
        parts = self._plan.parts
        peers = [(self._workload(other, texts), theirs)] if other and theirs is not None else []
        if set(parts) & {"speed", "chats", "busy"}:
            async with self._opened(folder, "all", texts) as ours:
                await self._measure_main([*ours, *peers])
        if "pause" in parts:
            async with self._opened(folder, "beside", texts, by_token=True) as ours:
                for workload, samples in [*ours, *peers]:
                    await workload.measure_interference(samples, self._notify)
        if "busy" in parts:
            async with self._opened(folder, "one", texts, threads=1) as ours:
                for workload, samples in ours:
                    await workload.measure_single(samples, self._notify)

    async def _measure_main(self, measured: Sequence[tuple[Workload, Samples]]) -> None:
        for workload, _ in measured:
            await workload.warm_up()
        for _ in range(self._plan.turns if "speed" in self._plan.parts else 0):
            self._measure_bare()
            for workload, samples in measured:
                await workload.measure_speed(samples, self._notify)
        if "chats" in self._plan.parts:
            for workload, samples in measured:
                await workload.measure_revisits(samples, self._notify)
        if "busy" in self._plan.parts:
            for workload, samples in measured:
                await workload.measure_busy(samples, self._notify)

    def _measure_bare(self) -> None:
        """Measure the library of 2023 in this process, while Wick's runners are idle."""
        settings, count = self._settings, self._plan.tokens
        for each in self._contenders:
            if each.model.engine != CTRANSFORMERS:
                continue
            context = memory.context_length(each.model, settings)
            self._notify("The engine alone")
            pace = measure_engine(each.model, count, settings.threads, context)
            each.samples.add("bare", pace.tokens)
            self._notify("ctransformers.LLM")
            own = ctransformers_loop(each.model, count, settings.threads, context)
            each.samples.add("ctransformers", own)

    @asynccontextmanager
    async def _opened(
        self,
        folder: Path,
        name: str,
        texts: PromptGenerator,
        *,
        by_token: bool = False,
        threads: int = 0,
    ) -> AsyncIterator[list[tuple[Workload, Samples]]]:
        """Runners of all engines, in folders of their own."""
        async with AsyncExitStack() as stack:
            opened = []
            for each in self._contenders:
                self._notify(f"{each.name}: loading the model")
                place = folder / name / each.model.engine
                place.mkdir(parents=True)
                threads = threads or self._settings.threads
                settings = replace(self._settings, data_dir=place, threads=threads)
                opening = LocalTarget.open(
                    each.model, settings, place, each.name, by_token=by_token
                )
                target = await stack.enter_async_context(opening)
                if name == "all":
                    each.samples.add("load", target.load_seconds)
                    each.samples.add("memory_loaded", target.memory())
                opened.append((self._workload(target, texts), each.samples))
            yield opened

    def _workload(self, target: LocalTarget | HttpTarget, texts: PromptGenerator) -> Workload:
        return Workload(target, self._plan, texts, self._sampling)
