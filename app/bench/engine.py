"""The bare engine loop against `ctransformers.LLM`, on the same file, prompt and threads."""

from __future__ import annotations

import time
from dataclasses import dataclass

from app.inference.llama_cpp_engine import LlamaCppEngine
from app.inference.sampling import Sampler
from app.models.model import Model, Turn
from app.models.template import ChatTemplate
from app.models.tokenizer import Tokenizer

QUESTION = "Tell me a long story about a fox and a candle."
SLICE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Throughput:
    """tokens a second while decoding, and characters a second of the text they make."""

    tokens: float
    characters: float


def prompt_of(model: Model) -> tuple[list[int], Tokenizer]:
    tokenizer = Tokenizer.load(model.folder)
    template = ChatTemplate(model.chat_template, tokenizer)
    return template.encode([Turn("user", QUESTION)]), tokenizer


def measure_engine(model: Model, count: int, threads: int, context: int) -> Throughput:
    """Evaluate, sample, evaluate: nothing else. `count` tokens, end tokens ignored."""
    prompt, tokenizer = prompt_of(model)
    engine = LlamaCppEngine(model.weights_path, context)
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
        str(model.weights_path),
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
