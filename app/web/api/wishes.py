"""What a program wants of a model, in whichever protocol it said so, made into a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from msgspec import Meta

from app.errors import ApiError
from app.inference.completions import Completions
from app.inference.protocol import Generate
from app.models.model import Role, Turn
from app.web.identity import current_user
from app.web.state import state

ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
}
RoleName = Annotated[str, Meta(extra_json_schema={"enum": list(ROLES)})]
Refused = Annotated[list[Any], Meta(extra_json_schema={"maxItems": 0})]
"""Documented, but not checked with the shape: what is wrong gets a sentence of its own."""
LATEST = ":latest"
UNLIMITED = 1 << 20
"""Tokens of an answer that only its window ends."""

MAX_STOPS, MAX_STOP_CHARS = 32, 500
MAX_BIASES = 1024
MAX_SCHEMA_CHARS = 65_536
"""What is looked at for every token of an answer, or compiled before it, is bounded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`sampling`: only what was chosen; all else is the model's default.

    text: a prompt without a template, instead of turns; context: a smaller window, in tokens.
    """

    model: str
    turns: tuple[Turn, ...] = ()
    text: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    may_drop: bool = False
    context: int | None = None
    bias: tuple[tuple[int, float], ...] = ()
    top_logprobs: int | None = None
    schema: str | None = None
    embeds: bool = False


def model_name(given: str) -> str:
    """As it is called on the shelf: some clients add a tag to every name."""
    return given.removesuffix(LATEST)


def command(wish: Wish) -> Generate:
    """Raises ModelNotFound, another ModelError, or ApiError."""
    _check_bounds(wish)
    usual = state().asking.settings_for(wish.model)
    turns, opening = _split_opening(wish.turns)
    if wish.text is None and not turns:
        raise ApiError("There must be a message for the model to answer.", param="messages")
    if wish.text is None and not any(turn.role == "system" for turn in turns):
        turns = usual.opening + turns
    chosen = {name: value for name, value in wish.sampling.items() if value is not None}
    return Generate(
        id=0,
        turns=turns,
        sampling=replace(usual.sampling, **chosen),
        max_tokens=wish.max_tokens or usual.max_tokens,
        stop=wish.stop if wish.text is not None else usual.stop + wish.stop,
        opening=opening,
        context=_context(wish.context, usual.context_length),
        text=wish.text,
        may_drop=wish.may_drop,
        bias=wish.bias,
        top_logprobs=wish.top_logprobs,
        schema=wish.schema,
        embeds=wish.embeds,
    )


def completions(model: str, commands: Sequence[Generate]) -> Completions:
    """For the person who asks. Raises ApiError for more than can ever wait at once."""
    here = state()
    if len(commands) > (most := here.settings.queue_limit):
        raise ApiError(
            f"These are {len(commands)} answers; at most {most} can wait here.", param="n"
        )
    return Completions(here.pool, model, commands, current_user())


def several(command: Generate, count: int) -> list[Generate]:
    """Answers that differ: each draws with a seed of its own."""
    seed = command.sampling.seed
    if seed is None or count == 1:
        return [command] * count
    sampling = [replace(command.sampling, seed=seed + number) for number in range(count)]
    return [replace(command, sampling=one) for one in sampling]


def stops(given: str | Sequence[str] | None) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,) if given else ()
    return tuple(stop for stop in given or () if stop)


def _check_bounds(wish: Wish) -> None:
    if len(wish.stop) > MAX_STOPS or any(len(stop) > MAX_STOP_CHARS for stop in wish.stop):
        raise ApiError(
            f"Give at most {MAX_STOPS} stop strings of up to {MAX_STOP_CHARS} characters.",
            param="stop",
        )
    if len(wish.bias) > MAX_BIASES:
        raise ApiError(f"Give a bias to at most {MAX_BIASES:,} tokens.", param="logit_bias")
    if wish.schema is not None and len(wish.schema) > MAX_SCHEMA_CHARS:
        raise ApiError(
            f"The JSON schema is too long: {len(wish.schema):,} characters; "
            f"at most {MAX_SCHEMA_CHARS:,} are read.",
            param="response_format",
        )


def _split_opening(turns: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], str]:
    """An answer that stands last is one to go on with."""
    if turns and turns[-1].role == "assistant":
        return turns[:-1], turns[-1].content
    return turns, ""


def _context(wanted: int | None, usual: int | None) -> int | None:
    return min(wanted, usual) if wanted and usual else wanted or usual
