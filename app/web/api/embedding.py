"""Texts as vectors, of which those of like meaning lie near each other.

What a chat model has read is summed up in what it makes of the last token; that is the vector.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.errors import ApiError
from app.inference.protocol import Failed, Finished
from app.inference.requests import Interrupted
from app.web.api import failures, streaming, wishes
from app.web.api.prompt_input import Prompt
from app.web.state import server_context

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    ends = await streaming.while_allowed(_all(model, texts, may_cut=may_cut))
    size = len(ends[0].embedding) if ends else 0
    if ends and dimensions and dimensions > size:
        raise ApiError(
            f"The vectors of this model have {size} dimensions, and not more.", param="dimensions"
        )
    vectors = [_normalize(end.embedding[:dimensions]) for end in ends]
    return EmbeddingResult(vectors, sum(end.prompt_tokens for end in ends))


async def _all(model: str, texts: Sequence[Prompt], *, may_cut: bool) -> list[Finished]:
    default = wishes.to_command(
        wishes.GenerationRequest(model=model, prompt="", may_drop=may_cut, embeds=True)
    )
    commands = [
        replace(default, text=text) if isinstance(text, str) else replace(default, before=text)
        for text in texts
    ]
    completions = wishes.open_completions(model, commands)
    streaming.start_with_connection(completions)
    ends: dict[int, Finished] = {}
    try:
        while not completions.is_over:
            match await completions.next():
                case (index, Finished() as finished):
                    ends[index] = finished
                case (_, Failed() | Interrupted() as failed):
                    raise failures.of_event(failed, param="input")
    finally:
        completions.cancel()
    return [ends[index] for index in range(len(texts))]


def _normalize(values: Sequence[float]) -> NDArray[np.float32]:
    import numpy as np  # here and not above: only programs ask for vectors

    vector = np.array(values, np.float32)
    length = float(np.linalg.norm(vector))
    return vector / np.float32(length) if length else vector
