"""Errors that users can meet, each a plain sentence.

WickError
├── ConfigError            a setting has a wrong value (exit code 2)
├── ModelError             something about a model
│   ├── ModelNotFound      no model of that name is in the model store
│   ├── ModelFileError     the file is damaged, truncated or not a GGUF file at all
│   ├── ModelUnsupported   a sound file that the engine cannot run
│   ├── WrongModelKind     it was made for something else, such as search
│   ├── ModelLoadError     the engine refused to load it
│   ├── ModelStoreUnreadable  the folder with the models cannot be read
│   ├── ModelTooLarge      it does not fit the memory that models may use
│   ├── ModelBusy          it is answering, or a request waits for it
│   ├── TemplateError      its chat template failed, looped or grew too large
│   └── PullError          the download or installation failed
│       └── PullRefused    an invalid source or name, refused before anything is downloaded
├── RequestError           one request cannot be answered
│   ├── PromptTooLong      the newest message alone does not fit the context window
│   │   └── TooManyTokens  a text is certainly too long, so it was not tokenised to its end
│   ├── SchemaRefused      this JSON schema or grammar cannot be followed
│   ├── PromptRefused      the model cannot take a prompt of this form
│   ├── QueueFull          too many requests are waiting
│   ├── LimitReached       this user's quota is used up, for now
│   ├── RunnerDied         the model's process ended unexpectedly (`wick bench` only)
│   └── ShuttingDown       Wick is stopping
├── ChatError              something about a chat
│   ├── ChatNotFound       no such chat, or not this user's
│   ├── ChatBusy           an answer is still being written in this chat
│   ├── MessageNotFound    no such message in this chat
│   ├── InvalidMessage     empty, too large or malformed
│   ├── AttachmentNotFound no such file, or not this user's
│   ├── AttachmentRefused  a file that no model here can read, or too large
│   ├── InvalidSettings    a field of a chat's settings is out of its bounds
│   ├── InvalidEntry       a field of a saved prompt or a persona is wrong
│   ├── LibraryEntryNotFound  no such saved prompt or persona
│   └── ResponseNotFound   no such stored response, or not this user's
├── MediaError             sound or a picture cannot become text
│   ├── MediaNotSetUp      what hears or reads is not installed here
│   ├── MediaNotFound      no extra and no voice model of that name
│   ├── MediaRefused       a kind of file that nothing here can decode, or a damaged one
│   ├── MediaTooLarge      more bytes or seconds than are allowed
│   └── MediaFailed        its process crashed or took too long
├── ToolError              something about tools
│   ├── ToolServerNotFound no such MCP server, or not for this user
│   ├── InvalidToolServer  a field of an MCP server's settings is wrong
│   ├── ToolServerFailed   an MCP server is not reached, fails or refuses
│   └── ToolsNotSetUp      what speaks MCP is not installed here
├── AccountError           something about an account
│   ├── NotLoggedIn        the user must log in first
│   ├── NotAllowed         only an owner may do this
│   ├── WrongPassword      wrong name or password
│   ├── WrongCode          wrong or used one-time code
│   ├── LoginExpired       a login whose second step came too late
│   ├── TooManyAttempts    the user must wait before the next attempt
│   ├── PasskeyRefused     a device's answer is none, or passkeys do not work here
│   ├── InvalidAccount     an invalid name or password
│   ├── IdentityRefused    what a proxy or a provider says of a user opens no account
│   ├── ProviderFailed     an OpenID provider answers with an error, or with what is not valid
│   │   └── ProviderUnreachable  it does not answer
│   ├── InviteNotFound     a link that does not work (any more)
│   ├── UserNotFound       no such user
│   ├── SessionNotFound    no such session
│   ├── KeyNotFound        no such API key
│   └── LastOwner          without this user there would be no owner
├── StoreError             the database
│   ├── StoreUnusable      its file or its folder is not what it should be (exit code 2)
│   │   └── DatabaseTooNew written by a later version of Wick
│   ├── DataFolderInUse    another process owns the folder with the chats
│   ├── SearchTooLong      the search exceeded its time limit
│   ├── BackupError        a backup failed, or is none
│   └── DiskFull           there is no room left to write
├── EncryptionError        a file by passphrase
│   ├── InvalidPassphrase  a wrong passphrase, or one that will not do
│   └── DecryptionFailed   damaged, encrypted in another way, or too much work
├── ServiceError           the machine's service manager refused, or is not there
├── ApiError               an invalid API request
└── PeerError              the server gave the terminal an unexpected answer
"""


class WickError(Exception):
    """Error whose text is a sentence for the user. `status` is its HTTP status code."""

    status = 500


class ConfigError(WickError):
    pass


class ModelError(WickError):
    status = 422


class ModelNotFound(ModelError):
    status = 404


class ModelFileError(ModelError):
    pass


class ModelUnsupported(ModelError):
    pass


class WrongModelKind(ModelError):
    status = 400


def not_for_chats(title: str, kind: str) -> str:
    """Word why a model of this kind is refused for chats."""
    what = "an embedding model" if kind == "embedding" else "a reranker"
    return f"{title} is {what}, made for search: it can't chat."


class ModelLoadError(ModelError):
    status = 503


class ModelStoreUnreadable(ModelError):
    status = 503


class ModelTooLarge(ModelError):
    status = 507


class ModelBusy(ModelError):
    status = 409


class TemplateError(ModelError):
    pass


class PullError(ModelError):
    status = 502


class PullRefused(PullError):
    status = 422


class RequestError(WickError):
    status = 503


class PromptTooLong(RequestError):
    """Error of a prompt too long for the window. `prompt_tokens`, `context_length`: 0 if
    unknown.
    """

    status = 413

    def __init__(self, sentence: str, prompt_tokens: int = 0, context_length: int = 0) -> None:
        super().__init__(sentence)
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class TooManyTokens(PromptTooLong):
    """Error of a text that is certainly too long: `about` how many tokens it has."""

    def __init__(self, about: int) -> None:
        super().__init__(
            f"This prompt is about {about:,} tokens long, more than the model can read at once. "
            "Shorten it.",
            about,
        )
        self.about = about


class SchemaRefused(RequestError):
    status = 400


class PromptRefused(RequestError):
    status = 400


class QueueFull(RequestError):
    """Error of a full queue. `retry_after`: seconds until there should be space, or None."""

    status = 503

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class LimitReached(RequestError):
    """Error of a used-up quota. `retry_after`: seconds until the next attempt is allowed."""

    status = 429

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class RunnerDied(RequestError):
    pass


class ShuttingDown(RequestError):
    pass


class MediaError(WickError):
    """Error of sound or a picture that was to become text."""

    status = 422


class MediaNotSetUp(MediaError):
    status = 501


class MediaNotFound(MediaError):
    status = 404


class MediaRefused(MediaError):
    status = 415


class MediaTooLarge(MediaError):
    status = 413


class MediaFailed(MediaError):
    status = 503


class ChatError(WickError):
    status = 400


class ChatNotFound(ChatError):
    status = 404

    def __init__(self, sentence: str = "There is no such chat.") -> None:
        super().__init__(sentence)


class ChatBusy(ChatError):
    status = 409


class MessageNotFound(ChatError):
    status = 404


class InvalidMessage(ChatError):
    status = 400


class AttachmentNotFound(ChatError):
    status = 404


class AttachmentRefused(ChatError):
    status = 415


class InvalidSettings(ChatError):
    """Error in a form of settings. `problems`: a sentence for each invalid field, by its name."""

    status = 422

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


class InvalidEntry(InvalidSettings):
    pass


class LibraryEntryNotFound(ChatError):
    status = 404


class ResponseNotFound(ChatError):
    status = 404


class ToolError(WickError):
    status = 400


class ToolServerNotFound(ToolError):
    status = 404


class InvalidToolServer(ToolError):
    """Error in a form of an MCP server. `problems`: a sentence for each invalid field, by name."""

    status = 422

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


class ToolServerFailed(ToolError):
    """Error of an MCP server. `last_words`: what it wrote to its standard error, for owners."""

    status = 502

    def __init__(self, sentence: str, last_words: str = "") -> None:
        super().__init__(sentence)
        self.last_words = last_words


class ToolsNotSetUp(ToolError):
    status = 501


class AccountError(WickError):
    status = 400


class NotLoggedIn(AccountError):
    status = 401


class NotAllowed(AccountError):
    status = 403


class WrongPassword(AccountError):
    status = 403


class WrongCode(AccountError):
    status = 403


class LoginExpired(AccountError):
    status = 403


class PasskeyRefused(AccountError):
    status = 403


class TooManyAttempts(AccountError):
    """Error after too many wrong passwords or codes. `seconds`: how long to wait."""

    status = 429

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class InvalidAccount(AccountError):
    """Error in a form of an account. `problems`: a sentence for each invalid field, by its name."""

    status = 422

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


class IdentityRefused(AccountError):
    status = 403


class ProviderFailed(AccountError):
    status = 502


class ProviderUnreachable(ProviderFailed):
    status = 503


class InviteNotFound(AccountError):
    status = 404


class UserNotFound(AccountError):
    status = 404


class SessionNotFound(AccountError):
    status = 404


class KeyNotFound(AccountError):
    status = 404


class LastOwner(AccountError):
    status = 409


class StoreError(WickError):
    status = 500


class StoreUnusable(StoreError):
    pass


class DatabaseTooNew(StoreUnusable):
    pass


class DataFolderInUse(StoreError):
    status = 409


class BackupError(StoreError):
    pass


class SearchTooLong(StoreError):
    status = 503


class DiskFull(StoreError):
    status = 507


class StorageFull(RequestError):
    """Error of a user who has stored as much as one may."""

    status = 507


class EncryptionError(WickError):
    status = 400


class InvalidPassphrase(EncryptionError):
    pass


class DecryptionFailed(EncryptionError):
    pass


class ServiceError(WickError):
    pass


class ApiError(WickError):
    """Error in an API request. `param`: the invalid field; `code`: a word for programs; both may be
    unknown.

    retry_after: seconds until the next attempt is allowed.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.param = param
        self.code = code
        self.retry_after = retry_after


class PeerError(WickError):
    status = 502
