"""With what an answer is made: resolved when it is asked for, and remembered with it."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

import msgspec

from app.config import Settings
from app.models import memory
from app.models.model import Model, Sampling, Turn
from app.models.template_names import stops_of

log = logging.getLogger(__name__)
MOST: Final = 2**53
"""More than any number that can be chosen."""


@dataclass(frozen=True, slots=True)
class GenerationSettings:
    """The effective settings of one answer.

    max_tokens: its longest length; system_prompt: empty for none; context_length: tokens, as far
    as they were asked for (None: the model was still on its way); stop: texts that end it.
    """

    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int = 1024
    system_prompt: str = ""
    context_length: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def system_turns(self) -> tuple[Turn, ...]:
        """The turns that stand before the conversation."""
        return (Turn("system", self.system_prompt),) if self.system_prompt else ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def resolve(settings: Settings, model: Model) -> GenerationSettings:
    """What the next answer is made with: the person's choices for its model, else the defaults."""
    return GenerationSettings(
        sampling=model.default_sampling,
        max_tokens=settings.max_tokens,
        system_prompt=model.settings.system_prompt.strip(),
        context_length=memory.context_length(model, settings),
        stop=stops_of(model),
    )


def parse_generation_settings(text: str | None) -> GenerationSettings | None:
    """The settings that a stored answer has; None when it has none that can be read.

    An earlier version took whatever an import brought, so what is stored is checked as well.
    """
    try:
        values: dict[str, Any] = msgspec.json.decode(text or "")
        made_with = msgspec.convert(values, GenerationSettings)
    except msgspec.MsgspecError:
        made_with = None
    if made_with is None or not _names_known(values) or not _is_possible(made_with):
        if text:
            log.warning("The settings of an answer cannot be read.")
        return None
    return made_with


def _names_known(values: dict[str, Any]) -> bool:
    """Whether the sampling is there and has no parameter that this version does not know."""
    known = {one.name for one in fields(Sampling)}
    return "sampling" in values and set(values["sampling"]) <= known


def _is_possible(made_with: GenerationSettings) -> bool:
    """Numbers that an answer may be made with: others would break what shows or uses them."""
    sampling = made_with.sampling
    numbers = (v for v in asdict(sampling).values() if isinstance(v, int | float))
    return all(abs(number) < MOST for number in numbers) and 0 < made_with.max_tokens < MOST
