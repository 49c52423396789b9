"""What a program wants of a model, in whichever protocol it said so, made into a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Final

from msgspec import Meta

from app.errors import ApiError
from app.inference.completions import Completions
from app.inference.protocol import Generate
from app.models.model import Turn
from app.web.api.conversation import split_opening
from app.web.api.prompt_input import Prompt
from app.web.identity import current_user
from app.web.state import server_context

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
