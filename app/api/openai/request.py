"""What both of OpenAI's ways to ask for an answer have in common: how it is to be made."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from app.errors import ApiError

Penalty = Annotated[float, Meta(ge=-2, le=2)]
Temperature = Annotated[float, Meta(ge=0, le=5)]
Probability = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=-1)]
UNLIMITED: Final = 1 << 20
"""Tokens of an answer that only its window ends."""
LogitBias = Annotated[
    dict[str, Annotated[float, Meta(ge=-100, le=100)]],
    Meta(extra_json_schema={"propertyNames": {"pattern": "^[0-9]{1,9}$"}}),
]
MAX_ANSWERS: Final = 8
_SAMPLING: Final = (
    *("temperature", "top_p", "min_p"),
    *("repetition_penalty", "frequency_penalty", "presence_penalty"),
)
_JSON: Final = json.dumps({"type": "object"})


class JsonSchema(msgspec.Struct):
    schema: dict[str, Any] | None = None
    name: str | None = None


class ResponseFormat(msgspec.Struct):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None
    schema: dict[str, Any] | None = None


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class OpenAIRequest(msgspec.Struct, kw_only=True):
    """What is left out, or null, is the model's default. Fields that are not here are ignored."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    temperature: Temperature | None = None
    top_p: Probability | None = None
    top_k: Annotated[int, Meta(ge=-1)] | None = None
    min_p: Probability | None = None
    repetition_penalty: Annotated[float, Meta(gt=0, le=5)] | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    seed: int | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None
    n: Annotated[int, Meta(ge=1, le=MAX_ANSWERS)] | None = None
    logit_bias: LogitBias | None = None
    response_format: ResponseFormat | None = None
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None

    def check(self) -> None:
        """Raises ApiError for fields that contradict each other."""
        if self.stream_options is not None and not self.stream:
            raise ApiError("stream_options need stream to be true.", param="stream_options")
        ways = [self._format_schema is not None, self.json_schema is not None, bool(self.grammar)]
        if sum(ways) > 1:
            raise ApiError(
                "Give only one of response_format, json_schema and grammar.",
                param="grammar" if self.grammar else "json_schema",
            )

    @property
    def wants_usage(self) -> bool:
        """In the last chunk of a stream."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def sampling(self) -> dict[str, Any]:
        """None for what was not chosen."""
        chosen = {name: getattr(self, name) for name in _SAMPLING}
        return chosen | {"top_k": all_tokens(self.top_k), "seed": random_seed(self.seed)}

    @property
    def bias(self) -> tuple[tuple[int, float], ...]:
        """Raises ApiError."""
        try:
            return tuple((int(token), bias) for token, bias in (self.logit_bias or {}).items())
        except ValueError:
            raise ApiError(
                "The keys of logit_bias must be token ids.", param="logit_bias"
            ) from None

    @property
    def schema(self) -> str | None:
        """That the answer has to follow, as text. Raises ApiError."""
        if self.json_schema is not None:
            return json.dumps(self.json_schema)
        return self._format_schema

    @property
    def _format_schema(self) -> str | None:
        wanted = self.response_format
        if wanted is None or wanted.type == "text":
            return None
        inner = wanted.json_schema.schema if wanted.json_schema is not None else None
        schema = wanted.schema if inner is None else inner
        if schema is None and wanted.type == "json_schema":
            raise ApiError("The schema is missing.", param="response_format.json_schema.schema")
        return _JSON if schema is None else json.dumps(schema)


def unlimited(tokens: int | None) -> int | None:
    """-1, as other servers have it, is no limit."""
    return UNLIMITED if tokens is not None and tokens < 0 else tokens


def all_tokens(top_k: int | None) -> int | None:
    """-1 is all of them, which 0 is here."""
    return 0 if top_k is not None and top_k < 0 else top_k


def random_seed(seed: int | None) -> int | None:
    """-1 is another one every time."""
    return None if seed == -1 else seed
