"""Every error that a user can meet, each worded as a sentence for people.

WickError
├── ConfigError            a setting has a wrong value (exit code 2)
├── ModelError             something about a model
│   ├── ModelNotFound      no model of that name is in the model store
│   ├── ModelFileError     the file is damaged, truncated or not a GGUF file at all
│   ├── ModelUnsupported   a sound file that the engine cannot run
│   ├── ModelLoadError     the engine refused to load it
│   ├── ModelStoreUnreadable  the folder with the models cannot be read
│   ├── ModelTooLarge      it does not fit the memory that models may use
│   ├── ModelBusy          it answers, or somebody waits for it
│   ├── TemplateError      its chat template failed, looped or grew too large
│   └── PullError          getting it from its source did not work
│       └── PullRefused    a source or a name that will not do, told before anything is fetched
├── RequestError           one request cannot be answered
│   ├── PromptTooLong      the newest message alone does not fit the context window
│   │   └── TooManyTokens  a text is certainly too long, so it was not tokenised to its end
│   ├── SchemaRefused      an answer cannot be made to follow this JSON schema
│   ├── PromptRefused      the model cannot read this prompt as it is meant
│   ├── QueueFull          too many requests are waiting
│   ├── LimitReached       this user's quota is used up, for now
│   ├── RunnerDied         the model's process ended unexpectedly (`wick bench` only)
│   └── ShuttingDown       Wick is stopping
├── ChatError              something about a chat
│   ├── ChatNotFound       no such chat, or not this user's
│   ├── ChatBusy           an answer is still being written in this chat
│   ├── MessageNotFound    no such message in this chat
│   ├── InvalidMessage     empty, too large or malformed
│   └── InvalidSettings    a field of a chat's settings is out of its bounds
├── AccountError           something about a person's account
│   ├── NotLoggedIn        whoever asks has to log in first
│   ├── NotAllowed         it is for the owner
│   ├── WrongPassword      name and password do not belong together
│   ├── TooManyAttempts    they have to wait before they may try again
│   ├── InvalidAccount     a name or a password that will not do
│   ├── InviteNotFound     a link that does not work (any more)
│   ├── UserNotFound       no such user
│   ├── SessionNotFound    no such session
│   ├── KeyNotFound        no such API key
│   └── LastOwner          without this person there would be no owner
├── StoreError             the database
│   ├── StoreUnusable      its file or its folder is not what it should be (exit code 2)
│   │   └── DatabaseTooNew written by a later version of Wick
│   ├── DataFolderInUse    another process owns the folder with the chats
│   ├── SearchTooLong      finding it took longer than one search may
│   └── DiskFull           there is no room left to write
├── ApiError               a program's request cannot be done as it stands
└── PeerError              a server that the terminal asked does not answer as it should
"""


class WickError(Exception):
    """An error whose text is a sentence for the person. `status` is its HTTP status code."""

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
    """`prompt_tokens`, `context_length`: 0 when they are not known."""

    status = 413

    def __init__(self, sentence: str, prompt_tokens: int = 0, context_length: int = 0) -> None:
        super().__init__(sentence)
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class TooManyTokens(PromptTooLong):
    """`about`: how many tokens it has."""

    def __init__(self, about: int) -> None:
        super().__init__(
            f"This prompt is about {about:,} tokens long, more than the model can read at once. "
            "Please shorten it.",
            about,
        )
        self.about = about


class SchemaRefused(RequestError):
    status = 400


class PromptRefused(RequestError):
    status = 400


class QueueFull(RequestError):
    """`retry_after`: seconds after which there should be room; None when that is not known."""

    status = 503

    def __init__(self, sentence: str, retry_after: float | None = None) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class LimitReached(RequestError):
    """`retry_after`: seconds after which it may be tried again."""

    status = 429

    def __init__(self, sentence: str, retry_after: int) -> None:
        super().__init__(sentence)
        self.retry_after = retry_after


class RunnerDied(RequestError):
    pass


class ShuttingDown(RequestError):
    pass


class ChatError(WickError):
    status = 400


class ChatNotFound(ChatError):
    status = 404


class ChatBusy(ChatError):
    status = 409


class MessageNotFound(ChatError):
    status = 404


class InvalidMessage(ChatError):
    status = 400


class InvalidSettings(ChatError):
    """`problems`: a sentence for each field that is wrong, by its name."""

    status = 422

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


class AccountError(WickError):
    status = 400


class NotLoggedIn(AccountError):
    status = 401


class NotAllowed(AccountError):
    status = 403


class WrongPassword(AccountError):
    status = 403


class TooManyAttempts(AccountError):
    """`seconds`: how long to wait."""

    status = 429

    def __init__(self, sentence: str, seconds: int) -> None:
        super().__init__(sentence)
        self.seconds = seconds


class InvalidAccount(AccountError):
    """`problems`: a sentence for each field that is wrong, by its name."""

    status = 422

    def __init__(self, problems: dict[str, str]) -> None:
        super().__init__(" ".join(problems.values()))
        self.problems = problems


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


class SearchTooLong(StoreError):
    status = 503


class DiskFull(StoreError):
    status = 507


class ApiError(WickError):
    """`param`: the field that is wrong; `code`: a word for programs; both may be unknown.

    retry_after: seconds after which it may be tried again.
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
