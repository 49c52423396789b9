"""Fields that both of OpenAI's requests for an answer share."""

from __future__ import annotations

import json
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from app.api.parameters import OpenAIParameters, chosen_in
from app.errors import ApiError

Count = Annotated[int, Meta(ge=-1)]
LogitBias = Annotated[
    dict[str, Annotated[float, Meta(ge=-100, le=100)]],
    Meta(extra_json_schema={"propertyNames": {"pattern": "^[0-9]{1,9}$"}}),
]
MAX_ANSWERS: Final = 8
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


class OpenAIRequest(OpenAIParameters, kw_only=True):
    """Request whose missing or null fields take the model's default. Other fields are ignored."""

    model: str
    stream: bool | None = None
    stream_options: StreamOptions | None = None
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
        """Tell whether the last chunk of a stream has the usage."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def chosen(self) -> dict[str, Any]:
        """The generation parameters that the request has."""
        return chosen_in(self, "openai")

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
        """Schema that the answer has to follow, as text. Raises ApiError."""
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
