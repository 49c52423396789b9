"""Endpoints of the API, what each takes and gives: the source of the documentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

from app.api.anthropic.schemas import MessageResponse, MessagesRequest, TokensCount
from app.api.chats.chats import LISTS, ModelChoices, Passphrase, SearchResultList
from app.api.chats.folders import FolderChange, FolderList, FolderObject, NewFolder
from app.api.chats.library import (
    LibraryImport,
    NewPersona,
    NewPrompt,
    PersonaList,
    PersonaObject,
    PromptList,
    PromptObject,
)
from app.api.chats.schemas import (
    CallDecision,
    ChatChange,
    ChatList,
    ChatObject,
    EditedMessage,
    FileChange,
    FileList,
    FileObject,
    FileText,
    MessageList,
    MessageObject,
    NewChat,
    NewMessage,
    RegenerateRequest,
    SubmittedAnswer,
    ToolChoice,
    ToolList,
)
from app.api.llama_server import (
    DetokenizeRequest,
    DetokenizeResponse,
    ServerProperties,
    SlotState,
    TemplateRequest,
    TemplateResponse,
    TokenizeRequest,
    TokenizeResponse,
)
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
from app.api.openai.response_schemas import (
    InputItemList,
    InputTokens,
    ResponseDeleted,
    ResponseObject,
    ResponsesRequest,
)
from app.api.openai.schemas import ChatCompletion, TextCompletion
from app.api.openai.speech import SpeechRequest
from app.api.openai.text import CompletionRequest
from app.api.openai.transcriptions import Transcription, TranscriptionRequest

Tag = Literal["Chats", "OpenAI", "Anthropic", "Ollama", "llama-server"]
FORM_DATA: Final = "multipart/form-data"
SSE, NDJSON, FILE = "text/event-stream", "application/x-ndjson", "application/json"
AGE: Final = "application/age-encryption"
TAGS: Final[dict[Tag, str]] = {
    "Chats": "A user's chats, the same as on the page. Answers are generated in the background,"
    " whether a program follows them or not.",
    "OpenAI": "For OpenAI clients: set their base URL to this server's address with /v1."
    " Nothing is stored but responses, for 30 days, unless `store` is false.",
    "Anthropic": "For Anthropic's clients: set their base URL to this server's address, and their"
    " key to one of this server's. Nothing is stored.",
    "llama-server": "What programs for llama-server ask beside OpenAI's protocol. Without a"
    " `model`, of the default one.",
    "Ollama": "For Ollama clients: set their host to this server's address. Nothing is stored.",
}


FIELD_DESCRIPTIONS: Final = {
    "model": "A name from the list of models.",
    "stream": "Stream the answer as it is generated.",
    "include_usage": "Send the usage in a last chunk.",
    "max_completion_tokens": "Newer name of max_tokens, which it overrides.",
    "n": "Number of answers; each takes a place of its own in the queue.",
    "logit_bias": "Numbers added to the logits of tokens, by token id.",
    "logprobs": "Return the log probabilities of the tokens.",
    "top_logprobs": "Number of likely tokens to return at each position; chats also need logprobs.",
    "response_format": "JSON that follows a schema; no other token can be chosen. The schema"
    " is in json_schema, or beside the type.",
    "json_schema": "JSON schema that the answer must follow.",
    "grammar": "Grammar that the answer must follow, in GBNF or Lark syntax.",
    "format": '"json", or a JSON schema that the answer must follow.',
    "tools": "Functions that the model may call.",
    "functions": "Refused, unless function_call is none: send tools instead.",
    "tool_calls": "Earlier tool calls of the assistant; they are read as text.",
    "prompt": "A text, token ids, or a list of either.",
    "suffix": "Text after the gap to fill, for models trained to fill in the middle.",
    "images": "Pictures in base64, for models that see.",
    "template": "Refused: the model's own is used.",
    "context": "Token ids from the previous answer, to continue from it.",
    "think": "Whether the model thinks before it answers, or with which effort.",
    "thinking": "What the model thought before that answer.",
    "reasoning_content": "What the model thought before that answer.",
    "chat_template_kwargs": "Options of other servers. Only enable_thinking (or thinking) counts:"
    " whether the model thinks before it answers.",
    "echo": "Begin the answer with the prompt; with logprobs, include its log probabilities;"
    " with max_tokens 0, nothing else.",
    "best_of": "Generate this many answers and return the n with the most likely tokens.",
    "raw": "Use no chat template.",
    "keep_alive": "How long the model stays loaded when idle: such as 5m, or seconds; negative:"
    " forever; 0 without a prompt: unload it now. Only an owner can set it, and it lasts until the"
    " model is unloaded.",
    "truncate": "Unless false, the oldest turns are dropped when not all fit in the context, and a"
    " message that is too long by itself loses its beginning.",
    "input": "A text, several texts, or token ids.",
    "query": "Text to compare the documents with.",
    "documents": 'Texts, plain or as {"text": ...}.',
    "top_n": "Number of results to return, best first; all by default.",
    "return_documents": "Return each document's text with its result.",
    "dimensions": "Return only the first dimensions, scaled to length 1.",
    "encoding_format": "Encoding of the numbers.",
    "client_id": "Id of this request, made by the program: sent again, it changes nothing.",
}
"""Descriptions of fields, wherever they stand."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Documentation of one endpoint.

    status, response: what it returns, None for no content; streams: the media type with `stream`,
    or always where there is no response; takes: the media type of a body that is no JSON; query:
    name, allowed values or None, and description.
    """

    method: str
    path: str
    tag: Tag
    summary: str
    request: Any = None
    status: int = 200
    response: Any = None
    streams: str = ""
    notes: str = ""
    takes: str = ""
    query: tuple[tuple[str, tuple[str, ...] | None, str], ...] = ()


_CHAT = "/api/v1/chats/{chat_id}"
_FOLDER = "/api/v1/folders/{folder_id}"
_PERSONA = "/api/v1/personas/{persona_id}"
_PROMPT = "/api/v1/prompts/{prompt_id}"
_RESPONSE = "/v1/responses/{response_id}"
_FILE = "/api/v1/files/{file_id}"
_MESSAGE = f"{_CHAT}/messages/{{message_id}}"
_EVENTS = (
    "`replace` has the text so far, `delta` what is added to it, `thought` what is added to the"
    " model's reasoning (the first one has all of it so far), `status` the progress, and `end` the"
    " whole message. Reconnect with the header Last-Event-ID, and the events continue where they"
    " broke off; once the answer has ended or the server was restarted, `replace` sends the text"
    " again. After `end` nothing follows, and the status is 204."
)
ENDPOINTS: Final = (
    Endpoint(
        *("get", "/api/v1/chats", "Chats", "List chats, newest first"),
        response=ChatList,
        query=(
            ("list", LISTS, "which list; `listed` has all that are in none of the next three"),
            ("folder", None, "with `list=folder`, the id of the folder"),
            ("after", None, "`next` of the previous page"),
        ),
    ),
    Endpoint(
        *("post", "/api/v1/chats", "Chats", "Start a chat with its first message"),
        request=NewChat,
        status=201,
        response=SubmittedAnswer,
    ),
    Endpoint(*("get", _CHAT, "Chats", "Get a chat with its settings"), response=ChatObject),
    Endpoint(
        *(
            "patch",
            _CHAT,
            "Chats",
            "Rename, pin, archive or restore a chat, or change its settings",
        ),
        request=ChatChange,
        response=ChatObject,
    ),
    Endpoint(
        *("delete", _CHAT, "Chats", "Move a chat to the trash"),
        status=204,
        notes="It stays there for 30 days.",
        query=(("forever", ("true", "false"), "delete it permanently instead"),),
    ),
    Endpoint(
        *("post", f"{_CHAT}/stop", "Chats", "Stop the running answer"),
        status=204,
        notes="The text so far is kept.",
    ),
    Endpoint(
        *("get", f"{_CHAT}/messages", "Chats", "List the messages of a chat, oldest first"),
        response=MessageList,
        notes="Only those of the branch that is shown.",
    ),
    Endpoint(
        *(
            "post",
            f"{_CHAT}/messages",
            "Chats",
            "Send a message; its answer is generated in the background",
        ),
        request=NewMessage,
        status=202,
        response=SubmittedAnswer,
    ),
    Endpoint(*("get", _MESSAGE, "Chats", "Get a message as it is now"), response=MessageObject),
    Endpoint(
        *("post", f"{_MESSAGE}/again", "Chats", "Regenerate an answer, on a branch of its own"),
        request=RegenerateRequest,
        status=202,
        response=SubmittedAnswer,
    ),
    Endpoint(
        *("get", f"{_MESSAGE}/events", "Chats", "Follow an answer as it is generated"),
        streams=SSE,
        notes=_EVENTS,
    ),
    Endpoint(
        *("post", f"{_MESSAGE}/edit", "Chats", "Edit a prompt and get a new answer"),
        request=EditedMessage,
        status=202,
        response=SubmittedAnswer,
        notes="On a branch of its own. A running answer of the chat is stopped.",
    ),
    Endpoint(
        *("post", f"{_MESSAGE}/continue", "Chats", "Continue an answer that was cut"),
        status=202,
        response=SubmittedAnswer,
    ),
    Endpoint(
        *("post", f"{_MESSAGE}/calls/{{number}}", "Chats", "Allow or deny a call of a tool"),
        request=CallDecision,
        response=MessageObject,
        notes="An answer with the status `calling` waits for it, as long as it takes.",
    ),
    Endpoint(
        *("get", f"{_CHAT}/tools", "Chats", "List the tools for a chat, and which are on"),
        response=ToolList,
    ),
    Endpoint(
        *("put", f"{_CHAT}/tools", "Chats", "Choose the tools that are on in a chat"),
        request=ToolChoice,
        response=ToolList,
    ),
    Endpoint(
        *("post", f"{_MESSAGE}/branch", "Chats", "Branch into a new chat, up to a message"),
        status=201,
        response=ChatObject,
    ),
    Endpoint(
        *("get", f"{_CHAT}/export.md", "Chats", "Export a chat as Markdown"),
        streams="text/markdown",
    ),
    Endpoint(
        *("get", f"{_CHAT}/export.json", "Chats", "Export a chat as JSON, to import it again"),
        streams=FILE,
        notes="With all its branches.",
    ),
    Endpoint(
        *("post", f"{_CHAT}/export.md", "Chats", "Export a chat as Markdown, encrypted"),
        request=Passphrase,
        streams=AGE,
    ),
    Endpoint(
        *("post", f"{_CHAT}/export.json", "Chats", "Export a chat as JSON, encrypted"),
        request=Passphrase,
        streams=AGE,
    ),
    Endpoint(
        *("get", "/api/v1/chats/export.json", "Chats", "Export all chats as JSON"),
        streams=FILE,
        notes="The trash is left out.",
    ),
    Endpoint(
        *("post", "/api/v1/chats/export.json", "Chats", "Export all chats as JSON, encrypted"),
        request=Passphrase,
        streams=AGE,
    ),
    Endpoint(
        *("get", "/api/v1/files", "Chats", "List files that no message has yet"),
        response=FileList,
    ),
    Endpoint(
        *("post", "/api/v1/files", "Chats", "Upload a text file or a picture for a message"),
        status=201,
        response=FileObject,
        takes="application/octet-stream",
        notes="The body is the file itself: text up to 1 MiB, a picture up to 20 MiB. Give its id"
        " to a message within 7 days.",
        query=(
            ("name", None, "its name, with the ending"),
            ("temporary", None, "`true` for a temporary chat"),
            ("model", None, "whose tokenizer counts its tokens; else they are an estimate"),
        ),
    ),
    Endpoint(*("get", f"{_FILE}", "Chats", "Get what is known of a file"), response=FileObject),
    Endpoint(
        *("patch", _FILE, "Chats", "Describe a picture, or change the text in it"),
        request=FileChange,
        response=FileObject,
    ),
    Endpoint(
        *("post", f"{_FILE}/text", "Chats", "Read the text in a picture (OCR) or a recording"),
        response=FileText,
        notes="The text is kept with the file, for models that see or hear none. 501 where reading"
        " text in pictures, or voice to text, is not set up.",
    ),
    Endpoint(
        *("get", f"{_FILE}/content", "Chats", "Get the text of a file, the picture or the sound"),
        streams="text/plain",
        notes="A picture comes as image/png or image/jpeg, encoded anew and without metadata;"
        " a sound as audio/wav.",
    ),
    Endpoint(
        *("get", f"{_FILE}/thumbnail", "Chats", "Get a picture, at most 512 pixels a side"),
        streams="image/webp",
    ),
    Endpoint(
        *("delete", _FILE, "Chats", "Delete a file that no message has"),
        status=204,
    ),
    Endpoint(
        *("get", "/api/v1/prompts", "Chats", "List saved prompts by name"), response=PromptList
    ),
    Endpoint(
        *("post", "/api/v1/prompts", "Chats", "Save a prompt"),
        request=NewPrompt,
        status=201,
        response=PromptObject,
    ),
    Endpoint(*("get", _PROMPT, "Chats", "Get a saved prompt"), response=PromptObject),
    Endpoint(
        *("put", _PROMPT, "Chats", "Change a saved prompt"),
        request=NewPrompt,
        response=PromptObject,
    ),
    Endpoint(*("delete", _PROMPT, "Chats", "Delete a saved prompt"), status=204),
    Endpoint(*("get", "/api/v1/folders", "Chats", "List folders by name"), response=FolderList),
    Endpoint(
        *("post", "/api/v1/folders", "Chats", "Create a folder for chats"),
        request=NewFolder,
        status=201,
        response=FolderObject,
    ),
    Endpoint(*("get", _FOLDER, "Chats", "Get a folder"), response=FolderObject),
    Endpoint(
        *("patch", _FOLDER, "Chats", "Rename a folder, or change its instructions or model"),
        request=FolderChange,
        response=FolderObject,
    ),
    Endpoint(*("delete", _FOLDER, "Chats", "Delete a folder"), status=204, notes="Its chats stay."),
    Endpoint(*("get", "/api/v1/personas", "Chats", "List personas by name"), response=PersonaList),
    Endpoint(
        *("post", "/api/v1/personas", "Chats", "Save a persona"),
        request=NewPersona,
        status=201,
        response=PersonaObject,
    ),
    Endpoint(*("get", _PERSONA, "Chats", "Get a persona"), response=PersonaObject),
    Endpoint(
        *("put", _PERSONA, "Chats", "Change a persona"),
        request=NewPersona,
        response=PersonaObject,
        notes="All of it but its picture. Chats that began with it stay as they are.",
    ),
    Endpoint(*("delete", _PERSONA, "Chats", "Delete a persona"), status=204),
    Endpoint(
        *("get", "/api/v1/library", "Chats", "Export saved prompts and personas"),
        streams=FILE,
    ),
    Endpoint(
        *("post", "/api/v1/library", "Chats", "Import saved prompts and personas"),
        response=LibraryImport,
        takes="application/octet-stream",
        notes="An export of Wick, or a character card (`chara_card_v2`, JSON or PNG).",
    ),
    Endpoint(
        *("get", "/api/v1/search", "Chats", "Search titles and messages"),
        response=SearchResultList,
        query=(("q", None, "words that must all occur"),),
    ),
    Endpoint(
        *("get", "/api/v1/models", "Chats", "List models, the default one first"),
        response=ModelChoices,
    ),
    Endpoint(*("get", "/v1/models", "OpenAI", "List the models"), response=ModelList),
    Endpoint(*("get", "/v1/models/{name}", "OpenAI", "Get a model"), response=ModelObject),
    Endpoint(
        *("post", "/v1/chat/completions", "OpenAI", "Answer a conversation"),
        request=ChatRequest,
        response=ChatCompletion,
        streams=SSE,
        notes="If the last message is the assistant's, it is continued. Audio is refused."
        " Consecutive messages of the same role count as one. Closing the connection stops"
        " the answer.",
    ),
    Endpoint(
        *("post", "/v1/responses", "OpenAI", "Answer a conversation that Wick keeps"),
        request=ResponsesRequest,
        response=ResponseObject,
        streams=SSE,
        notes="With `previous_response_id` it goes on from an earlier response of the same user."
        " Responses are kept for 30 days, at most 1,000 of each user, unless `store` is false."
        " Closing the connection stops the answer, and nothing of it is kept.",
    ),
    Endpoint(
        *("post", "/v1/responses/input_tokens", "OpenAI", "Count the tokens of a conversation"),
        request=ResponsesRequest,
        response=InputTokens,
        notes="Exact where Wick has the model's tokenizer, but for pictures; else an estimate.",
    ),
    Endpoint(*("get", _RESPONSE, "OpenAI", "Get a response"), response=ResponseObject),
    Endpoint(*("delete", _RESPONSE, "OpenAI", "Delete a response"), response=ResponseDeleted),
    Endpoint(
        *("get", f"{_RESPONSE}/input_items", "OpenAI", "List what a response was an answer to"),
        response=InputItemList,
        query=(("order", ("asc", "desc"), "`desc`, newest first, unless it is `asc`"),),
    ),
    Endpoint(
        *("post", "/v1/completions", "OpenAI", "Complete a text, without a chat template"),
        request=CompletionRequest,
        response=TextCompletion,
        streams=SSE,
    ),
    Endpoint(
        *("post", "/v1/embeddings", "OpenAI", "Embed texts as vectors"),
        request=EmbeddingRequest,
        response=EmbeddingList,
        notes="Models made for embeddings compare texts better than chat models. Several texts are"
        " evaluated together.",
    ),
    Endpoint(
        *("post", "/v1/rerank", "OpenAI", "Rank documents by how well they answer a query"),
        request=RerankRequest,
        response=RerankResults,
        notes="In the format of Jina and Cohere. Needs a reranker model.",
    ),
    Endpoint(
        *("post", "/v1/audio/speech", "OpenAI", "Speak a text"),
        request=SpeechRequest,
        streams="audio/wav",
        notes="Where the server's owner has set up a voice of piper; otherwise the status is 501."
        " Model and voice may be anything: there is one voice.",
    ),
    Endpoint(
        *("post", "/v1/audio/transcriptions", "OpenAI", "Write down what is said in a recording"),
        request=TranscriptionRequest,
        response=Transcription,
        takes=FORM_DATA,
        streams=SSE,
        notes="WAV, FLAC, OGG, MP3 and AIFF, up to 64 MiB (WICK_MAX_AUDIO_MB) and an hour; M4A,"
        " WEBM and others where ffmpeg is installed. The status is 501 where voice to text is not"
        " set up.",
    ),
    Endpoint(
        *("post", "/v1/audio/translations", "OpenAI", "Write down in English what is said"),
        request=TranscriptionRequest,
        response=Transcription,
        takes=FORM_DATA,
        streams=SSE,
    ),
    Endpoint(
        *("post", "/v1/messages", "Anthropic", "Answer a conversation"),
        request=MessagesRequest,
        response=MessageResponse,
        streams=SSE,
        notes="If the last message is the assistant's, it is continued. Thoughts are sent only when"
        " `thinking` asks for them. Closing the connection stops the answer.",
    ),
    Endpoint(
        *("post", "/v1/messages/count_tokens", "Anthropic", "Count the tokens of a conversation"),
        request=MessagesRequest,
        response=TokensCount,
        notes="Exact where Wick has the model's tokenizer, else an estimate; a picture counts as"
        " an estimate.",
    ),
    Endpoint(
        *("post", "/tokenize", "llama-server", "Turn a text into tokens"),
        request=TokenizeRequest,
        response=TokenizeResponse,
        notes="The model need not be loaded. The status is 501 where Wick doesn't have its"
        " tokenizer, as for remote models; so it is for the next two.",
    ),
    Endpoint(
        *("post", "/detokenize", "llama-server", "Turn tokens into a text"),
        request=DetokenizeRequest,
        response=DetokenizeResponse,
    ),
    Endpoint(
        *("post", "/apply-template", "llama-server", "Show the prompt of a conversation"),
        request=TemplateRequest,
        response=TemplateResponse,
        notes="Special tokens are shown by their names, pictures are left out. It is for reading:"
        " in a text that is sent, such names are plain text.",
    ),
    Endpoint(
        *("get", "/props", "llama-server", "Get a model's template, defaults and context"),
        response=ServerProperties,
        query=(("model", None, "a name from the list of models"),),
    ),
    Endpoint(
        *("get", "/slots", "llama-server", "See how many answers are being written"),
        response=list[SlotState],
        query=(("model", None, "only of this model"),),
        notes="Only for owners.",
    ),
    Endpoint(
        *("post", "/api/chat", "Ollama", "Answer a conversation"),
        request=OllamaChatRequest,
        response=OllamaChatResponse,
        streams=NDJSON,
        notes="Streams unless `stream` is false. Without messages the model is only loaded, or"
        " unloaded with a keep_alive of 0.",
    ),
    Endpoint(
        *("post", "/api/generate", "Ollama", "Answer a prompt"),
        request=OllamaGenerateRequest,
        response=OllamaGenerateResponse,
        streams=NDJSON,
        notes="Streams unless `stream` is false. With `raw` no chat template is used.",
    ),
    Endpoint(*("get", "/api/tags", "Ollama", "List the models"), response=OllamaTags),
    Endpoint(
        *("post", "/api/show", "Ollama", "Show details of a model"),
        request=ShowRequest,
        response=OllamaShow,
    ),
    Endpoint(*("get", "/api/ps", "Ollama", "List loaded models"), response=OllamaProcesses),
    Endpoint(*("get", "/api/version", "Ollama", "Get the version"), response=OllamaVersion),
    Endpoint(
        *("post", "/api/embed", "Ollama", "Embed texts as vectors"),
        request=EmbedRequest,
        response=OllamaEmbedResponse,
    ),
    Endpoint(
        *("post", "/api/embeddings", "Ollama", "Embed a text (older form)"),
        request=LegacyEmbedRequest,
        response=LegacyEmbedResponse,
    ),
)
