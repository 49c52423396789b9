"""What a request to another server says, in OpenAI's protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from app.inference.protocol import Generate
from app.models.model import Turn
from app.models.upstream import Upstream


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
    body |= _prompt(command, turns) | _sampling(command)
    return body if is_plain else body | _extras(command)


def _prompt(command: Generate, turns: Sequence[Turn]) -> dict[str, Any]:
    if command.text is not None:
        prompt = {"prompt": list(command.before) or command.text}
        return prompt | {"suffix": command.suffix} if command.suffix else prompt
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    if not command.opening:
        return {"messages": messages}
    # vLLM and SGLang go on with the last message when they are asked to, llama-server, Ollama and
    # Wick by themselves.
    messages.append({"role": "assistant", "content": command.opening})
    return {"messages": messages, "continue_final_message": True, "add_generation_prompt": False}


def _sampling(command: Generate) -> dict[str, Any]:
    """The temperature, and what differs from what every server does by itself."""
    sampling = command.sampling
    body: dict[str, Any] = {"temperature": sampling.temperature}
    if sampling.top_p < 1:
        body["top_p"] = sampling.top_p
    if sampling.seed is not None:
        body["seed"] = sampling.seed
    if sampling.frequency_penalty:
        body["frequency_penalty"] = sampling.frequency_penalty
    if sampling.presence_penalty:
        body["presence_penalty"] = sampling.presence_penalty
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
    sampling = command.sampling
    extras: dict[str, Any] = {"stream_options": {"include_usage": True}, "return_progress": True}
    think = False if command.effort == "none" else command.think
    if think is not None:
        extras["chat_template_kwargs"] = {"enable_thinking": think}  # llama-server, vLLM, SGLang
    if command.effort is not None or think is False:
        extras["reasoning_effort"] = command.effort or "none"
    if sampling.top_k > 0:
        extras["top_k"] = sampling.top_k
    if sampling.min_p > 0:
        extras["min_p"] = sampling.min_p
    if sampling.repetition_penalty != 1:
        extras["repetition_penalty"] = sampling.repetition_penalty  # vLLM, SGLang, Wick
        extras["repeat_penalty"] = sampling.repetition_penalty  # llama-server, LM Studio
        extras["repeat_last_n"] = sampling.repetition_window
    return extras
