"""Generation requests of programs, in whichever protocol: commands, completions, embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from app.api import http
from app.api.prompt_input import Prompt
from app.api.turns import split_opening
from app.errors import ApiError
from app.inference.completions import Completions
from app.inference.protocol import Failed, Finished, Generate
from app.inference.queue import Interrupted
from app.models.model import Turn
from app.web import errors
from app.web.context import server_context
from app.web.security.identity import current_user

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# What a program wants of a model, in whichever protocol it said so, made into a command.


Unsupported = Annotated[list[Any], Meta(extra_json_schema={"maxItems": 0})]
"""Documented, but not checked with the shape: what is wrong gets a sentence of its own."""
LATEST = ":latest"
MAX_ANSWERS: Final = 2048
AT_ONCE: Final = 8
"""Answers to one request that wait in the queue at the same time: it is for others, too."""

MAX_STOPS, MAX_STOP_CHARS = 32, 500
MAX_BIASES = 1024
MAX_SCHEMA_CHARS = 65_536
MAX_GRAMMAR_CHARS = 16_384
"""What is looked at for every token of an answer, or compiled before it, is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationRequest:
    """`sampling`: only what was chosen; all else is the model's default.

    prompt: without a template, instead of turns; context: a smaller window, in tokens; the rest as
    in Generate.
    """

    model: str
    turns: tuple[Turn, ...] = ()
    prompt: Prompt | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    may_drop: bool = False
    context: int | None = None
    bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    schema: str | None = None
    embeds: bool = False
    before: tuple[int, ...] = ()
    suffix: str = ""
    may_cut: bool = False
    grammar: str | None = None
    tells_prompt: bool = False
    tells_ids: bool = False


def model_name(given: str) -> str:
    """As it is called on the shelf: some clients add a tag to every name."""
    return given.removesuffix(LATEST)


def to_command(generation: GenerationRequest) -> Generate:
    """Raises ModelNotFound, another ModelError, or ApiError."""
    _check_bounds(generation)
    default = server_context().answers.resolve_settings(generation.model)
    turns, opening = split_opening(generation.turns)
    if generation.prompt is None and not turns:
        raise ApiError("There must be a message for the model to answer.", param="messages")
    has_system = generation.before or any(turn.role == "system" for turn in turns)
    if generation.prompt is None and not has_system:
        turns = default.system_turns + turns
    text, before = _plain(generation)
    chosen = {name: value for name, value in generation.sampling.items() if value is not None}
    return Generate(
        id=0,
        turns=turns,
        sampling=replace(default.sampling, **chosen),
        max_tokens=default.max_tokens if generation.max_tokens is None else generation.max_tokens,
        stop=generation.stop if text is not None else default.stop + generation.stop,
        opening=opening,
        context=_context(generation.context, default.context_length),
        text=text,
        allow_truncation=generation.may_drop,
        bias=generation.bias,
        top_logprobs=generation.top_logprobs,
        schema=generation.schema,
        wants_embedding=generation.embeds,
        before=before,
        suffix=generation.suffix,
        may_cut=generation.may_cut,
        grammar=generation.grammar,
        tells_prompt=generation.tells_prompt,
        tells_ids=generation.tells_ids,
    )


def _plain(generation: GenerationRequest) -> tuple[str | None, tuple[int, ...]]:
    """The text of a prompt without a template, and the ids before it."""
    if generation.prompt is None or isinstance(generation.prompt, str):
        return generation.prompt, generation.before
    return "", generation.prompt


def open_completions(model: str, commands: Sequence[Generate]) -> Completions:
    """For the person who asks. Raises ApiError for too many."""
    context = server_context()
    if len(commands) > MAX_ANSWERS:
        raise ApiError(
            f"These are {len(commands):,} answers; at most {MAX_ANSWERS:,} can be asked for at"
            " once.",
            param="n",
        )
    at_once = min(AT_ONCE, context.settings.queue_limit)
    return Completions(context.pool, model, commands, current_user(), at_once=at_once)


def with_distinct_seeds(command: Generate, count: int) -> list[Generate]:
    """Answers that differ: each draws with a seed of its own."""
    seed = command.sampling.seed
    if seed is None or count == 1:
        return [command] * count
    sampling = [replace(command.sampling, seed=seed + number) for number in range(count)]
    return [replace(command, sampling=one) for one in sampling]


def parse_stop(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,) if given else ()
    return tuple(stop for stop in given or () if stop)


def _check_bounds(generation: GenerationRequest) -> None:
    if len(generation.stop) > MAX_STOPS or any(
        len(stop) > MAX_STOP_CHARS for stop in generation.stop
    ):
        raise ApiError(
            f"Give at most {MAX_STOPS} stop strings of up to {MAX_STOP_CHARS} characters.",
            param="stop",
        )
    if len(generation.bias) > MAX_BIASES:
        raise ApiError(f"Give a bias to at most {MAX_BIASES:,} tokens.", param="logit_bias")
    if generation.schema is not None and len(generation.schema) > MAX_SCHEMA_CHARS:
        raise ApiError(
            f"The JSON schema is too long: {len(generation.schema):,} characters; "
            f"at most {MAX_SCHEMA_CHARS:,} are read.",
            param="response_format",
        )
    if generation.grammar is not None and len(generation.grammar) > MAX_GRAMMAR_CHARS:
        raise ApiError(
            f"The grammar is too long: {len(generation.grammar):,} characters; "
            f"at most {MAX_GRAMMAR_CHARS:,} are read.",
            param="grammar",
        )


def _context(wanted: int | None, default: int | None) -> int | None:
    return min(wanted, default) if wanted and default else wanted or default


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
    if (await asyncio.to_thread(server_context().store.get, model)).remote is not None:
        raise ApiError(
            "This model runs elsewhere, and Wick asks there for answers only.",
            status=501,
            param="model",
            code="unsupported",
        )
    if "" in texts:
        raise ApiError("An empty text has no meaning to embed.", param="input")
    ends = await http.while_allowed(_all(model, texts, may_cut=may_cut))
    size = len(ends[0].embedding) if ends else 0
    if ends and dimensions and dimensions > size:
        raise ApiError(
            f"The vectors of this model have {size} dimensions, and not more.", param="dimensions"
        )
    vectors = [_normalize(end.embedding[:dimensions]) for end in ends]
    return EmbeddingResult(vectors, sum(end.prompt_tokens for end in ends))


async def _all(model: str, texts: Sequence[Prompt], *, may_cut: bool) -> list[Finished]:
    default = to_command(GenerationRequest(model=model, prompt="", may_drop=may_cut, embeds=True))
    commands = [
        replace(default, text=text) if isinstance(text, str) else replace(default, before=text)
        for text in texts
    ]
    completions = open_completions(model, commands)
    http.start_with_connection(completions)
    ends: dict[int, Finished] = {}
    try:
        while not completions.is_over:
            match await completions.next():
                case (index, Finished() as finished):
                    ends[index] = finished
                case (_, Failed() | Interrupted() as failed):
                    raise errors.of_event(failed, param="input")
    finally:
        completions.cancel()
    return [ends[index] for index in range(len(texts))]


def _normalize(values: Sequence[float]) -> NDArray[np.float32]:
    import numpy as np  # here and not above: only programs ask for vectors

    vector = np.array(values, np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector
