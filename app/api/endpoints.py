"""Endpoints of the API, what each takes and gives: the source of the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from app.api.chats.chats import LISTS
from app.api.chats.schemas import (
    ChatChange,
    ChatList,
    ChatObject,
    MessageList,
    MessageObject,
    NewChat,
    NewMessage,
    RegenerateRequest,
    SubmittedAnswer,
)
from app.api.chats.search import ModelChoices, SearchResultList
from app.api.ollama.embeddings import (
    EmbedRequest,
    LegacyEmbedRequest,
    LegacyEmbedResponse,
    OllamaEmbedResponse,
)
from app.api.ollama.generate import (
    OllamaChatRequest,
    OllamaChatResponse,
    OllamaGenerateRequest,
    OllamaGenerateResponse,
)
from app.api.ollama.models import (
    OllamaProcesses,
    OllamaShow,
    OllamaTags,
    OllamaVersion,
    ShowRequest,
)
from app.api.openai.chat import ChatRequest
from app.api.openai.embeddings import EmbeddingList, EmbeddingRequest
from app.api.openai.models import ModelList, ModelObject
from app.api.openai.rerank import RerankRequest, RerankResults
from app.api.openai.schemas import ChatCompletion, TextCompletion
from app.api.openai.text import CompletionRequest

Tag = Literal["Chats", "OpenAI", "Ollama"]
SSE, NDJSON, FILE = "text/event-stream", "application/x-ndjson", "application/json"
TAGS: Final[dict[Tag, str]] = {
    "Chats": "A person's chats, the same ones as on the page. Answers are made in the background,"
    " whether somebody follows them or not.",
    "OpenAI": "For every program that speaks to OpenAI: give it this server's address with /v1."
    " Nothing of it is kept.",
    "Ollama": "For every program that speaks to Ollama: give it this server's address."
    " Nothing of it is kept.",
}


INTRODUCTION: Final = {
    "model": "A name from the list of models.",
    "stream": "Send the answer while it is made.",
    "include_usage": "Tell the usage in a last chunk.",
    "max_completion_tokens": "The newer name of max_tokens, which it goes before.",
    "n": "How many answers; each takes a place of its own in the queue.",
    "logit_bias": "What is added to the logits of tokens, by their ids, which the model must have.",
    "logprobs": "Tell how likely the tokens were.",
    "top_logprobs": "How many likely tokens to tell beside each. In chats it needs logprobs.",
    "response_format": "JSON that follows a schema: no other token can come. The schema"
    " stands in json_schema, or beside the type.",
    "json_schema": "A JSON schema that the answer is to follow.",
    "grammar": "Rules that the answer is to follow, in GBNF or in Lark's notation.",
    "format": '"json", or a JSON schema that the answer is to follow.',
    "tools": "Refused, unless tool_choice is none: the models that run here cannot call them.",
    "functions": "Refused, as tools are, unless function_call is none.",
    "tool_calls": "What the assistant asked of tools earlier; it is read as text.",
    "prompt": "A text, token ids, or a list of either.",
    "suffix": "What follows the gap that is to be filled, for models that were made for it.",
    "images": "Refused: the models that run here read text only.",
    "template": "Refused: the model's own is used.",
    "context": "From the answer before, which this one then goes on from.",
    "think": "Whether the model thinks before it answers, or how much.",
    "thinking": "What the model thought before it answered, as it was sent.",
    "reasoning_content": "What the model thought before it answered, as it was sent.",
    "chat_template_kwargs": "Options of other servers, of which enable_thinking (or thinking)"
    " counts: whether the model thinks before it answers.",
    "echo": "Begin the answer with the prompt; with logprobs, tell how likely its tokens are.",
    "best_of": "Make so many answers, and give the n of which the tokens are the likeliest.",
    "raw": "Use no chat template.",
    "keep_alive": "How long the model stays loaded when nobody uses it, such as 5m, or seconds;"
    " negative: for ever; 0 without a prompt: unload it now. Counts from the owner, until the model"
    " is unloaded.",
    "truncate": "Unless it is false, the oldest turns leave when not all fit the window, and of a"
    " message that is too long by itself the end is read.",
    "input": "A text, several, or token ids.",
    "query": "What the documents are compared with.",
    "documents": 'Texts, as such or as {"text": ...}.',
    "top_n": "How many results to give, the best first; all without it.",
    "return_documents": "Give each document's text with its result.",
    "dimensions": "Give only so many, the first ones, scaled to length 1.",
    "encoding_format": "How the numbers are written.",
    "client_id": "Made by the program for this one wish: sent again, it changes nothing.",
}
"""What fields mean, wherever they stand."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """status, response: what it gives, None for no content; streams: what comes instead with
    `stream`, or always where there is no other type; query: name, allowed values or None, what it
    is for."""

    method: str
    path: str
    tag: Tag
    summary: str
    request: Any = None
    status: int = 200
    response: Any = None
    streams: str = ""
    notes: str = ""
    query: tuple[tuple[str, tuple[str, ...] | None, str], ...] = ()


_CHAT = "/api/v1/chats/{chat_id}"
_MESSAGE = f"{_CHAT}/messages/{{message_id}}"
_EVENTS = (
    "`replace` gives the text so far, `delta` what is added to it, `thought` what is added to what"
    " the model thinks before, of which the first one has all so far, `status` how far it is, and"
    " `end` the whole message. Come back with the header Last-Event-ID, and the events go on where"
    " they broke off; once the answer has ended or the server was restarted, `replace` gives the"
    " text anew. After `end` there is nothing more, which 204 says."
)
ENDPOINTS: Final = (
    Endpoint(
        *("get", "/api/v1/chats", "Chats", "List chats, the newest first"),
        response=ChatList,
        query=(
            ("list", LISTS, "which of the lists; `listed` has what the others have not"),
            ("after", None, "`next` of the page before"),
        ),
    ),
    Endpoint(
        *("post", "/api/v1/chats", "Chats", "Begin a chat with its first message"),
        request=NewChat,
        status=201,
        response=SubmittedAnswer,
    ),
    Endpoint(*("get", _CHAT, "Chats", "One chat, with its settings"), response=ChatObject),
    Endpoint(
        *("patch", _CHAT, "Chats", "Rename, pin, archive, restore or set up a chat"),
        request=ChatChange,
        response=ChatObject,
    ),
    Endpoint(
        *("delete", _CHAT, "Chats", "Put a chat into the trash"),
        status=204,
        notes="It stays there for 30 days.",
        query=(("forever", ("true", "false"), "remove it for good instead"),),
    ),
    Endpoint(
        *("post", f"{_CHAT}/stop", "Chats", "Stop the answer that is being written"),
        status=204,
        notes="Its text so far stays.",
    ),
    Endpoint(
        *("get", f"{_CHAT}/messages", "Chats", "The messages of a chat, the oldest first"),
        response=MessageList,
        notes="Of several branches those of the one that is shown.",
    ),
    Endpoint(
        *("post", f"{_CHAT}/messages", "Chats", "Write a message; its answer comes by itself"),
        request=NewMessage,
        status=202,
        response=SubmittedAnswer,
    ),
    Endpoint(*("get", _MESSAGE, "Chats", "One message as it is now"), response=MessageObject),
    Endpoint(
        *("post", f"{_MESSAGE}/again", "Chats", "Another answer, on a branch of its own"),
        request=RegenerateRequest,
        status=202,
        response=SubmittedAnswer,
    ),
    Endpoint(
        *("get", f"{_MESSAGE}/events", "Chats", "Follow an answer while it is written"),
        streams=SSE,
        notes=_EVENTS,
    ),
    Endpoint(
        *("post", f"{_MESSAGE}/edit", "Chats", "The same prompt in other words, and an answer"),
        request=NewMessage,
        status=202,
        response=SubmittedAnswer,
        notes="On a branch of its own. What is being written in the chat is stopped.",
    ),
    Endpoint(
        *("post", f"{_MESSAGE}/continue", "Chats", "Go on with an answer that was cut"),
        status=202,
        response=SubmittedAnswer,
    ),
    Endpoint(
        *("get", f"{_CHAT}/export.md", "Chats", "The chat as Markdown, to be read"),
        streams="text/markdown",
    ),
    Endpoint(
        *("get", f"{_CHAT}/export.json", "Chats", "The chat as a file that an import takes"),
        streams=FILE,
        notes="With all its branches.",
    ),
    Endpoint(
        *("get", "/api/v1/search", "Chats", "Find words in titles and messages"),
        response=SearchResultList,
        query=(("q", None, "the words, all of which are to be there"),),
    ),
    Endpoint(
        *("get", "/api/v1/models", "Chats", "The models, that of new chats first"),
        response=ModelChoices,
    ),
    Endpoint(*("get", "/v1/models", "OpenAI", "List the models"), response=ModelList),
    Endpoint(*("get", "/v1/models/{name}", "OpenAI", "One model"), response=ModelObject),
    Endpoint(
        *("post", "/v1/chat/completions", "OpenAI", "The next answer of a conversation"),
        request=ChatRequest,
        response=ChatCompletion,
        streams=SSE,
        notes="A message of the assistant that stands last is continued. Images, tools and audio"
        " are refused. Messages of the same role in a row count as one. Whoever hangs up ends the"
        " answer.",
    ),
    Endpoint(
        *("post", "/v1/completions", "OpenAI", "How a text goes on, without a chat template"),
        request=CompletionRequest,
        response=TextCompletion,
        streams=SSE,
    ),
    Endpoint(
        *("post", "/v1/embeddings", "OpenAI", "Texts as vectors"),
        request=EmbeddingRequest,
        response=EmbeddingList,
        notes="A model that was made for embeddings compares better than one made for chat. Several"
        " texts are evaluated together.",
    ),
    Endpoint(
        *("post", "/v1/rerank", "OpenAI", "How well documents answer a query"),
        request=RerankRequest,
        response=RerankResults,
        notes="In the form that Jina and Cohere use, by a model that was made for reranking.",
    ),
    Endpoint(
        *("post", "/api/chat", "Ollama", "The next answer of a conversation"),
        request=OllamaChatRequest,
        response=OllamaChatResponse,
        streams=NDJSON,
        notes="Streams unless `stream` is false. Without messages the model is only loaded, or"
        " with a keep_alive of 0 unloaded.",
    ),
    Endpoint(
        *("post", "/api/generate", "Ollama", "An answer to one prompt"),
        request=OllamaGenerateRequest,
        response=OllamaGenerateResponse,
        streams=NDJSON,
        notes="Streams unless `stream` is false. With `raw` no chat template is used.",
    ),
    Endpoint(*("get", "/api/tags", "Ollama", "List the models"), response=OllamaTags),
    Endpoint(
        *("post", "/api/show", "Ollama", "About a model"),
        request=ShowRequest,
        response=OllamaShow,
    ),
    Endpoint(*("get", "/api/ps", "Ollama", "The models in memory"), response=OllamaProcesses),
    Endpoint(*("get", "/api/version", "Ollama", "Versions"), response=OllamaVersion),
    Endpoint(
        *("post", "/api/embed", "Ollama", "Texts as vectors"),
        request=EmbedRequest,
        response=OllamaEmbedResponse,
    ),
    Endpoint(
        *("post", "/api/embeddings", "Ollama", "A text as a vector, the older way"),
        request=LegacyEmbedRequest,
        response=LegacyEmbedResponse,
    ),
)
