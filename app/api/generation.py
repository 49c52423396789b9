"""Generation requests of programs, in whichever protocol: commands, completions, embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from app.api import http
from app.api.prompt_input import Prompt, split_opening
from app.conversations.settings import system_turns
from app.errors import ApiError
from app.inference.completions import Completions
from app.inference.protocol import MAX_CONCURRENT_TEXTS, Failed, Finished, Generate
from app.inference.queue import Interrupted
from app.models.model import ModelKind
from app.web import errors
from app.web.context import server_context
from app.web.security.identity import current_user

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# What a program wants of a model, in whichever protocol it said so, made into a command.


LATEST = ":latest"
MAX_ANSWERS: Final = 2048
MAX_CONCURRENT_ANSWERS: Final = 8
"""Answers to one request that wait in the queue at the same time: it is for others, too."""

MAX_STOPS, MAX_STOP_CHARS = 32, 500
MAX_BIASES = 1024
MAX_SCHEMA_CHARS = 65_536
MAX_GRAMMAR_CHARS = 16_384
"""What is looked at for every token of an answer, or compiled before it, is bounded."""


def model_name(given: str) -> str:
    """Return the installed model's name: some clients add a tag to every name."""
    return given.removesuffix(LATEST)


def to_command(model: str, chosen: Mapping[str, Any], command: Generate) -> Generate:
    """The command with what the model answers with by default, and with the parameters chosen.

    Raises ModelNotFound, another ModelError, or ApiError.
    """
    _check_bounds(command, chosen.get("stop", ()))
    answers = server_context().answers
    default = answers.resolve_settings(model, chats=not command.wants_embedding)
    made_with = default.override(chosen)
    turns, opening = split_opening(command.turns)
    if command.text is None and not turns:
        raise ApiError("There must be a message for the model to answer.", param="messages")
    has_system = command.before or any(turn.role == "system" for turn in turns)
    if command.text is None and not has_system:
        turns = system_turns(default) + turns
    return replace(
        command,
        turns=turns,
        opening=opening,
        sampling=made_with.sampling,
        max_tokens=made_with.max_tokens,
        # The model's own stop strings belong to its template.
        stop=made_with.stop if command.text is None else tuple(chosen.get("stop", ())),
        context=made_with.context_length,
        think=made_with.think if command.think is None else command.think,
        effort=made_with.reasoning_effort if command.effort is None else command.effort,
        max_thought_tokens=made_with.max_thought_tokens,
    )


def open_completions(
    model: str, commands: Sequence[Generate], at_once: int = MAX_CONCURRENT_ANSWERS
) -> Completions:
    """Prepare completions for the user who asks. Raises ApiError for too many."""
    context = server_context()
    if len(commands) > MAX_ANSWERS:
        raise ApiError(
            f"These are {len(commands):,} answers; at most {MAX_ANSWERS:,} can be asked for at"
            " once.",
            param="n",
        )
    limit = min(at_once, context.settings.queue_limit)
    return Completions(context.pool, model, commands, current_user(), max_concurrent=limit)


def with_distinct_seeds(command: Generate, count: int) -> list[Generate]:
    """Answers that differ: each draws with a seed of its own."""
    seed = command.sampling.seed
    if seed is None or count == 1:
        return [command] * count
    sampling = [replace(command.sampling, seed=seed + number) for number in range(count)]
    return [replace(command, sampling=one) for one in sampling]


def _check_bounds(command: Generate, stop: Sequence[str]) -> None:
    """Raises ApiError."""
    if len(stop) > MAX_STOPS or any(len(text) > MAX_STOP_CHARS for text in stop):
        raise ApiError(
            f"Give at most {MAX_STOPS} stop strings of up to {MAX_STOP_CHARS} characters.",
            param="stop",
        )
    if len(command.bias) > MAX_BIASES:
        raise ApiError(f"Give a bias to at most {MAX_BIASES:,} tokens.", param="logit_bias")
    if command.schema is not None and len(command.schema) > MAX_SCHEMA_CHARS:
        raise ApiError(
            f"The JSON schema is too long: {len(command.schema):,} characters; "
            f"at most {MAX_SCHEMA_CHARS:,} are read.",
            param="response_format",
        )
    if command.grammar is not None and len(command.grammar) > MAX_GRAMMAR_CHARS:
        raise ApiError(
            f"The grammar is too long: {len(command.grammar):,} characters; "
            f"at most {MAX_GRAMMAR_CHARS:,} are read.",
            param="grammar",
        )


# Texts as vectors, of which those of like meaning lie near each other.
#
# What a chat model has read is summed up in what it makes of the last token; that is the vector.


@dataclass(frozen=True, slots=True)
class EmbeddingResult:
    """vectors: one of length 1 for each text; tokens: of all texts."""

    vectors: list[NDArray[np.float32]]
    tokens: int


async def embed(
    model: str,
    texts: Sequence[Prompt],
    *,
    may_cut: bool = False,
    dimensions: int | None = None,
) -> EmbeddingResult:
    """may_cut: of a text that is too long only the beginning counts; dimensions: only so many, the
    first ones. Raises ApiError, or what asking for an answer raises."""
    kind = await _kind_here(model)
    if kind == "reranker":
        raise ApiError("This model is a reranker: ask it at /v1/rerank.", param="model")
    if "" in texts:
        raise ApiError("Can't embed an empty text.", param="input")
    ends = await http.while_allowed(_all(model, kind, texts, may_cut=may_cut))
    size = len(ends[0].embedding) if ends else 0
    if ends and dimensions and dimensions > size:
        raise ApiError(
            f"The vectors of this model have {size} dimensions, and not more.", param="dimensions"
        )
    vectors = [_normalize(end.embedding[:dimensions]) for end in ends]
    return EmbeddingResult(vectors, sum(end.prompt_tokens for end in ends))


@dataclass(frozen=True, slots=True)
class RerankResult:
    """scores: of each document, from 0 to 1; tokens: of all pairs."""

    scores: list[float]
    tokens: int


async def rerank(
    model: str, query: str, documents: Sequence[str], *, may_cut: bool = False
) -> RerankResult:
    """Compare documents with a query. Raises as `embed` does."""
    kind = await _kind_here(model)
    if kind != "reranker":
        raise ApiError("This model is no reranker: it can't compare texts.", param="model")
    if not query:
        raise ApiError("The query is empty.", param="query")
    ends = await http.while_allowed(_all(model, kind, documents, may_cut=may_cut, query=query))
    scores = [end.embedding[0] for end in ends]
    return RerankResult(scores, sum(end.prompt_tokens for end in ends))


async def _kind_here(model: str) -> ModelKind:
    """The kind of a model of this machine. Raises ApiError for another's, or ModelNotFound."""
    found = await asyncio.to_thread(server_context().store.get, model)
    if found.remote is not None:
        raise ApiError(
            "This model runs elsewhere, and Wick asks there for answers only.",
            status=501,
            param="model",
            code="unsupported",
        )
    return found.kind


async def _all(
    model: str,
    kind: ModelKind,
    texts: Sequence[Prompt],
    *,
    may_cut: bool,
    query: str | None = None,
) -> list[Finished]:
    default = to_command(
        model,
        {},
        Generate(0, (), text="", allow_truncation=may_cut, wants_embedding=True, query=query),
    )
    commands = [
        replace(default, text=text) if isinstance(text, str) else replace(default, before=text)
        for text in texts
    ]
    at_once = MAX_CONCURRENT_ANSWERS if kind == "text" else MAX_CONCURRENT_TEXTS
    completions = open_completions(model, commands, at_once)
    http.start_with_connection(completions)
    ends: dict[int, Finished] = {}
    try:
        while not completions.is_over:
            match await completions.next():
                case (index, Finished() as finished):
                    ends[index] = finished
                case (_, Failed() | Interrupted() as failed):
                    raise errors.of_event(failed, param="input" if query is None else "documents")
    finally:
        completions.cancel()
    return [ends[index] for index in range(len(texts))]


def _normalize(values: Sequence[float]) -> NDArray[np.float32]:
    import numpy as np  # here and not above: only programs ask for vectors

    vector = np.array(values, np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector
