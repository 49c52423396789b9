"""Request to another server, in OpenAI's protocol: the turns that fit, and its body.

Without the tokenizer a prompt's tokens are estimated, by what real counts have shown.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from app.inference.context_window import answer_reserve, fit
from app.inference.protocol import CHARACTERS_PER_IMAGE, Generate
from app.inference.queue import WeightedRate
from app.models.model import Turn
from app.models.parameters import SAMPLING, Parameter, Sampling
from app.models.upstream import Upstream

_LATIN: Final = 3.5  # characters of a token, a little fewer than usual: rather too short a prompt
_OTHER: Final = 1.3
_TURN: Final = 8  # tokens that a template puts around each turn
_LEAST, _MOST = 0.5, 2.5
THOUGHT_LIMITS: Final = ("max_thought_tokens", "thinking_budget_tokens", "thinking_budget")
"""Names by which Wick, llama-server and hosted Qwen know the limit of a thought."""
MARGIN: Final = 64
"""Tokens between the estimated prompt with its answer and the end of the window."""


@dataclass(frozen=True, slots=True)
class EstimatedPrompt:
    """turns: those that fit; dropped: how many older ones do not; prompt, max_tokens: tokens;
    lost_documents: as in `FittedPrompt`."""

    turns: list[Turn]
    dropped: int
    prompt: int
    max_tokens: int
    lost_documents: bool = False


class TokenEstimator:
    """Estimator for one server's model."""

    def __init__(self) -> None:
        self._rate = WeightedRate(1000, 1000)

    def tokens(self, turns: Sequence[Turn]) -> int:
        return math.ceil(_guess(turns) * self._factor)

    def learn(self, turns: Sequence[Turn], tokens: int) -> None:
        """Learn from a prompt's real count."""
        if tokens > 0 and turns:
            self._rate.record(tokens, _guess(turns))

    def reset_to(self, turns: Sequence[Turn], tokens: int) -> None:
        """Start anew from a real count, when the estimate was entirely wrong."""
        self._rate = WeightedRate(float(tokens), _guess(turns))

    def fit(
        self, turns: Sequence[Turn], opening: str, max_tokens: int, window: int
    ) -> EstimatedPrompt:
        """The newest turns that leave room for the answer. Raises PromptTooLong."""
        begun = [Turn("assistant", opening)] if opening else []
        room = answer_reserve(max_tokens, window)
        limit = max(1, window - room - min(MARGIN, window // 8))
        fitted = fit(turns, lambda some: [0] * self.tokens([*some, *begun]), limit)
        prompt = len(fitted.tokens)
        kept = [*fitted.kept]
        left = window - prompt - min(MARGIN, window // 8)
        most, is_lost = max(1, min(max_tokens, left)), fitted.lost_documents
        return EstimatedPrompt(kept, fitted.dropped, prompt, most, is_lost)

    def fit_all(
        self, turns: Sequence[Turn], opening: str, max_tokens: int, window: int
    ) -> EstimatedPrompt:
        """Keep the whole prompt: whether it fits is only estimated here, and the server knows."""
        begun = [Turn("assistant", opening)] if opening else []
        prompt = self.tokens([*turns, *begun])
        left = max(window - prompt - min(MARGIN, window // 8), answer_reserve(max_tokens, window))
        return EstimatedPrompt(list(turns), 0, prompt, min(max_tokens, left))

    @property
    def _factor(self) -> float:
        return min(_MOST, max(_LEAST, self._rate.value or 1.0))


def _guess(turns: Sequence[Turn]) -> float:
    total = float(_TURN)
    for turn in turns:
        latin = len(turn.content.encode("ascii", "ignore"))
        total += _TURN + latin / _LATIN + (len(turn.content) - latin) / _OTHER
        total += CHARACTERS_PER_IMAGE / _LATIN * len(turn.images)
        total += sum(len(call.name) + len(call.arguments) for call in turn.calls) / _LATIN
    return total


def endpoint_path(command: Generate) -> str:
    """Behind the address of a server."""
    return "/chat/completions" if command.text is None else "/completions"


def request_body(
    upstream: Upstream,
    command: Generate,
    turns: Sequence[Turn],
    max_tokens: int,
    *,
    is_plain: bool,
) -> dict[str, Any]:
    """The JSON of one request. is_plain: without the fields that not every server knows."""
    body: dict[str, Any] = {"model": upstream.model, "stream": True, "max_tokens": max_tokens}
    body |= _prompt(command, turns, is_plain=is_plain) | _sampling(command) | _tools(command)
    return body if is_plain else body | _extras(command)


def told_beside(command: Generate) -> str:
    """Text that a prompt has beside its turns, for its size: the answer's beginning, and tools."""
    tools = command.tools if command.offers_tools else ()
    told = (tool.name + tool.description + tool.parameters for tool in tools)
    return command.opening + "".join(told)


def _tools(command: Generate) -> dict[str, Any]:
    """The fields that offer tools."""
    if not command.offers_tools:
        return {}
    tools = [
        {
            "type": "function",
            "function": {
                "name": tool.name,
                "description": tool.description,
                "parameters": json.loads(tool.parameters),
            },
        }
        for tool in command.tools
    ]
    choice: dict[str, Any] = {}
    if command.tool_choice.startswith("="):
        named = {"type": "function", "function": {"name": command.tool_choice[1:]}}
        choice = {"tool_choice": named}
    elif command.must_call:
        choice = {"tool_choice": command.tool_choice}
    if not command.parallel_tool_calls:
        choice["parallel_tool_calls"] = False
    return {"tools": tools, **choice}


def _message(turn: Turn, *, is_plain: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": _content(turn)}
    if turn.role == "tool":
        message["tool_call_id"] = turn.call_id
    if turn.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in turn.calls
        ]
        if turn.thought and not is_plain:  # models go on thinking where they called a tool
            message["reasoning_content"] = turn.thought
    return message


def _prompt(command: Generate, turns: Sequence[Turn], *, is_plain: bool) -> dict[str, Any]:
    if command.text is not None:
        prompt = {"prompt": list(command.before) or command.text}
        return prompt | {"suffix": command.suffix} if command.suffix else prompt
    messages = [_message(turn, is_plain=is_plain) for turn in turns]
    if not command.opening:
        return {"messages": messages}
    # vLLM and SGLang go on with the last message when they are asked to, llama-server, Ollama and
    # Wick by themselves.
    messages.append({"role": "assistant", "content": command.opening})
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}


def _content(turn: Turn) -> str | list[dict[str, Any]]:
    """The text of a turn, or its parts where it has pictures."""
    if not turn.images:
        return turn.content
    parts, begin = list[dict[str, Any]](), 0
    for image in turn.images:
        parts += _text_part(turn.content[begin : image.place])
        begin = image.place
        parts.append({"type": "image_url", "image_url": {"url": _data_url(Path(image.path))}})
    return parts + _text_part(turn.content[begin:])


def _text_part(text: str) -> list[dict[str, Any]]:
    return [{"type": "text", "text": text}] if text else []


def _data_url(path: Path) -> str:
    data = path.read_bytes()
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _sampling(command: Generate) -> dict[str, Any]:
    """The parameters of OpenAI's own protocol, and all else that an answer must have."""
    body = {
        wire.name: value
        for row, value in _non_default(command.sampling)
        if (wire := row.wire("openai")) is not None and not wire.is_extension
    }
    if command.stop:
        body["stop"] = list(command.stop)
    if command.bias:
        body["logit_bias"] = {str(token): bias for token, bias in command.bias}
    if command.top_logprobs is not None:
        if command.text is None:
            body |= {"logprobs": True, "top_logprobs": command.top_logprobs}
        else:
            body["logprobs"] = command.top_logprobs
    if command.schema is not None:
        schema = {"name": "answer", "schema": json.loads(command.schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if command.grammar is not None:
        body["grammar"] = command.grammar  # llama-server and Wick
    return body


def _extras(command: Generate) -> dict[str, Any]:
    """Add what only some servers know: by the names of vLLM, SGLang and Wick, and by those of
    Ollama, llama-server and LM Studio."""
    extras: dict[str, Any] = {"stream_options": {"include_usage": True}, "return_progress": True}
    if command.offers_tools and command.parallel_tool_calls:
        extras["parallel_tool_calls"] = True  # llama-server has one call at a time otherwise
    think = False if command.effort == "none" else command.think
    if think is not None:
        extras["chat_template_kwargs"] = {"enable_thinking": think}  # llama-server, vLLM, SGLang
    if command.effort is not None or think is False:
        extras["reasoning_effort"] = command.effort or "none"
    if command.max_thought_tokens and think is not False:
        for name in THOUGHT_LIMITS:
            extras[name] = command.max_thought_tokens
    for row, value in _non_default(command.sampling):
        wires = (row.wire("openai"), row.wire("ollama"))
        if wires[0] is None or wires[0].is_extension:
            extras |= {wire.name: value for wire in wires if wire is not None}
    if command.sampling.repetition_penalty == 1:
        extras.pop("repeat_last_n", None)  # there is nothing to look back for
    return extras


def _non_default(sampling: Sampling) -> Iterator[tuple[Parameter, Any]]:
    """The parameters with their values, without those that every server does by itself."""
    for name, row in SAMPLING.items():
        value = getattr(sampling, name)
        if value is not None and (row.neutral is None or value != row.neutral):
            yield row, value
