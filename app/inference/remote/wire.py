"""The words of OpenAI's protocol: what a request says, and what a chunk of its answer means."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from app.inference.protocol import Generate
from app.inference.remote.lines import Garbage
from app.models.model import Sampling, Turn
from app.models.upstream import Upstream

DONE: Final = "[DONE]"
LONGEST_COUNT: Final = 1 << 40


@dataclass(frozen=True, slots=True)
class Usage:
    prompt: int
    completion: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """What one event says. thinks: the model is at work and says nothing yet; finish: the server's
    word for how the answer ended; reading: prompt tokens done and in all."""

    text: str = ""
    thinks: bool = False
    finish: str = ""
    usage: Usage | None = None
    reading: tuple[int, int] | None = None


class Complaint(Exception):
    """The server tells of an error in the middle of its stream, as `value`."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    @property
    def body(self) -> bytes:
        return json.dumps({"error": self.value}).encode()


def request_body(
    upstream: Upstream,
    command: Generate,
    turns: Sequence[Turn],
    max_tokens: int,
    *,
    is_plain: bool,
) -> dict[str, Any]:
    """The JSON of one request. is_plain: without the fields that not every server knows."""
    sampling = command.sampling
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    body: dict[str, Any] = {
        "model": upstream.model,
        "messages": messages,
        "stream": True,
        "max_tokens": max_tokens,
        "temperature": sampling.temperature,
    }
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if command.stop:
        body["stop"] = list(command.stop)
    if command.opening:
        # vLLM and SGLang go on with the last message when they are asked to, llama-server, Ollama
        # and Wick by themselves.
        messages.append({"role": "assistant", "content": command.opening})
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return body if is_plain else body | _extras(sampling)


def _extras(sampling: Sampling) -> dict[str, Any]:
    extras: dict[str, Any] = {"stream_options": {"include_usage": True}, "return_progress": True}
    if sampling.top_k > 0:
        extras["top_k"] = sampling.top_k
    if sampling.min_p > 0:
        extras["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1:
        extras["repetition_penalty"] = sampling.repetition_penalty  # vLLM, SGLang, Wick
        extras["repeat_penalty"] = sampling.repetition_penalty  # llama-server, LM Studio
        extras["repeat_last_n"] = sampling.repetition_window
    return extras


def read_piece(data: str) -> Piece:
    """What the data of one event says. Raises Garbage or Complaint."""
    try:
        chunk = json.loads(data)
        if not isinstance(chunk, dict):
            raise Garbage("is not OpenAI's protocol")
        if (error := chunk.get("error")) is not None:
            raise Complaint(error)
        if "choices" not in chunk and "message" in chunk and "code" in chunk:
            raise Complaint(chunk)
        return _piece(chunk)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Garbage("is not OpenAI's protocol") from error


def _piece(chunk: dict[str, Any]) -> Piece:
    usage = _usage(chunk.get("usage"))
    reading = _reading(chunk.get("prompt_progress"))
    choices = chunk.get("choices") or ()
    if not choices:
        return Piece(usage=usage, reading=reading)
    choice = choices[0]
    delta = choice.get("delta") or {}
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    return Piece(
        text=_storable(delta.get("content") or ""),
        thinks=bool(thought),
        finish=str(choice.get("finish_reason") or ""),
        usage=usage,
        reading=reading,
    )


def _usage(values: Any) -> Usage | None:
    if not values:
        return None
    details = values.get("prompt_tokens_details") or {}
    prompt = _count(values.get("prompt_tokens"))
    cached = min(prompt, _count(details.get("cached_tokens")))
    return Usage(prompt, _count(values.get("completion_tokens")), cached)


def _reading(values: Any) -> tuple[int, int] | None:
    if not values:
        return None
    total = _count(values.get("total"))
    return min(total, _count(values.get("processed"))), total


def _count(value: Any) -> int:
    if value is None:
        return 0
    if not isinstance(value, int) or not 0 <= value < LONGEST_COUNT:
        raise Garbage("counts wrongly")
    return value


def _storable(text: Any) -> str:
    """Text that can be kept: JSON can name halves of characters, and NUL."""
    if not isinstance(text, str):
        raise Garbage("is not OpenAI's protocol")
    whole: str = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return whole.replace("\0", "\ufffd")
