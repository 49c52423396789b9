"""Responses of `/api`, documented: while tokens come they are written by hand."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class OllamaErrorResponse(msgspec.Struct):
    error: str


class OllamaVersion(msgspec.Struct):
    """version: that of Ollama whose API this is; wick: Wick's own."""

    version: str
    wick: str


class OllamaDetails(msgspec.Struct):
    parent_model: str
    format: str
    family: str
    families: list[str]
    parameter_size: str
    quantization_level: str


class OllamaModel(msgspec.Struct):
    name: str
    model: str
    modified_at: str
    size: int
    digest: str
    details: OllamaDetails


class OllamaTags(msgspec.Struct):
    models: list[OllamaModel]


class OllamaRunning(OllamaModel):
    size_vram: int
    expires_at: str
    context_length: int


class OllamaProcesses(msgspec.Struct):
    models: list[OllamaRunning]


class OllamaShow(msgspec.Struct):
    modelfile: str
    parameters: str
    template: str
    system: str
    license: str
    details: OllamaDetails
    model_info: dict[str, Any]
    capabilities: list[str]
    modified_at: str


class OllamaReplyMessage(msgspec.Struct):
    role: Literal["assistant"]
    content: str


class OllamaEnd(msgspec.Struct, kw_only=True):
    """Durations in nanoseconds."""

    model: str
    created_at: str
    done: bool
    done_reason: Literal["stop", "length", "load", "unload"]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0
    prompt_eval_duration: int = 0
    eval_count: int = 0
    eval_duration: int = 0
    logprobs: list[Any] = []


class OllamaChatResponse(OllamaEnd, kw_only=True):
    message: OllamaReplyMessage


class OllamaGenerateResponse(OllamaEnd, kw_only=True):
    """context: to be sent with the next prompt, which then goes on from here."""

    response: str
    context: list[int] = []
