"""Settings from the environment and a `.env` file. The only place that reads either."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import platformdirs
from dotenv import dotenv_values

from app import setting_values
from app.errors import ConfigError
from app.login_settings import ProviderSettings, take_providers
from app.net import Network, is_loopback

PREFIX = "WICK_"
OTHER_PROGRAMS = (
    *("OLLAMA_MODELS", "LLAMA_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME"),
    *("XDG_CACHE_HOME", "LOCALAPPDATA"),
)
KEY_PREFIX = "WICK_KEY_"
"""Of variables that hold keys for other servers: no settings, and never read into one."""


KvType = Literal["f16", "q8_0"]
"""How llama.cpp stores keys and values."""
NATIVE_DEFAULTS: Final = {
    # Threads of OpenMP wait by spinning. Beside a busy program an unbounded spin makes 1 token/s,
    # and one that is too short costs half of the speed on a quiet machine.
    "GOMP_SPINCOUNT": "20000",
    # A failed assertion would start a debugger, if there is one, and wait for it.
    "GGML_NO_BACKTRACE": "1",
}


def asset_dir(name: str) -> Path:
    """Return the folder `templates`, `static` or `migrations`: beside `app/` in a checkout, inside
    it when installed."""
    package = Path(__file__).parent
    beside = package.parent / name
    return beside if (package.parent / "pyproject.toml").exists() else package / name


def available_cpus() -> int:
    """Cores this process may run on (containers and `taskset` allow fewer than the machine has)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


DEFAULT_AUDIO_MB: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings with their defaults. `.env.example` says what each one means and its unit."""

    host: str = "127.0.0.1"
    port: int = 8000
    base_path: str = ""
    allowed_hosts: tuple[str, ...] = ()
    accounts: Literal["auto", "on", "off"] = "auto"
    trusted_proxies: tuple[Network, ...] = ()
    auth_header: str = ""
    auth_proxy: tuple[Network, ...] = ()
    auth_create: bool = False
    auth_groups_header: str = ""
    auth_owner_group: str = ""
    auth_logout: str = ""
    providers: tuple[ProviderSettings, ...] = ()
    tls_cert: Path | None = None
    tls_key: Path | None = None
    data_dir: Path = Path(platformdirs.user_data_dir("wick", appauthor=False))
    models_dir: Path = Path()
    backup_dir: Path | None = None
    backups_kept: int = 7
    backup_passphrase_file: Path | None = None
    upgrade_copies_kept: int = 3
    default_model: str = "smollm2-135m"
    auto_pull: bool = True
    measure_engines: bool = True
    threads: int = 0
    slots: int = 4
    context: int = 0
    kv_memory_mb: int = 2048
    kv_ram_mb: int = 1024
    kv_disk_mb: int = 4096
    kv_type: KvType = "f16"
    gpu_layers: int | None = None
    keep_alive: float = 1800.0
    model_memory_mb: int = 0
    queue_limit: int = 32
    max_tokens: int = 1024
    message_chars: int = 100_000
    messages_per_second: int = 5
    sockets_per_user: int = 64
    requests_per_user: int = 24
    daily_tokens: int = 0
    storage_mb_per_user: int = 0
    chats_per_user: int = 50_000
    messages_per_chat: int = 20_000
    keep_free_mb: int = 256
    upload_mb: int = 65_536
    max_audio_mb: int = DEFAULT_AUDIO_MB
    login_attempts: int = 5
    connections_per_address: int = 256
    remote_timeout: float = 300.0
    mcp_timeout: float = 60.0
    titles: Literal["auto", "on", "off"] = "auto"
    temporary_grace: float = 120.0
    fetch_pictures: bool = False
    tool_seconds: float = 120.0
    read_web_pages: bool = False
    searxng: str = ""
    piper: str = "piper"
    piper_voice: Path | None = None
    log: Literal["text", "json"] = "text"
    log_level: str = "info"
    log_mb: int = 20
    key: str = field(default="", repr=False)

    @property
    def database(self) -> Path:
        return self.data_dir / "wick.db"

    @property
    def terminal_history(self) -> Path:
        """File with the inputs of `wick chat`, to be recalled there."""
        return self.data_dir / "chat_history"

    @property
    def keep_free_bytes(self) -> int:
        """Bytes of the disk that nothing large may take."""
        return self.keep_free_mb << 20

    @property
    def kv_folder(self) -> Path:
        """Folder with KV snapshots of all models."""
        return self.data_dir / "kv"

    @property
    def is_loopback(self) -> bool:
        return is_loopback(self.host)

    @property
    def has_accounts(self) -> bool:
        """Tell whether users must log in: yes, unless only this machine can connect."""
        if self.accounts == "auto":
            others = any(not is_loopback(host) for host in self.allowed_hosts)
            is_proxied = bool(self.trusted_proxies) or bool(self.auth_header)
            return not self.is_loopback or is_proxied or others or bool(self.providers)
        return self.accounts == "on"

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "https" if self.tls_cert else "http"
        return f"{scheme}://{host}:{self.port}"

    @property
    def page_url(self) -> str:
        """Return the URL of the page for a browser on this computer."""
        return f"{self.url}{self.base_path}/" if self.base_path else self.url

    @property
    def local_url(self) -> str:
        """Return the URL at which this computer reaches the server, also one that listens
        everywhere.
        """
        everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - it binds nothing
        return replace(self, host=everywhere.get(self.host, self.host)).url


def load_settings(
    environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")
) -> Settings:
    """Load the settings from `environ` (default: the process's), then from the `dotenv` file.

    Raises ConfigError with one line that names the variable, its value and what is allowed.
    """
    given = _in_file(dotenv) if dotenv else {}
    given |= os.environ if environ is None else environ
    given = {
        k: v.strip()
        for k, v in given.items()
        if k.startswith(PREFIX) and not k.startswith(KEY_PREFIX) and v.strip()
    }
    providers = take_providers(given)
    unknown = sorted(given.keys() - {PREFIX + name.upper() for name in _PARSERS})
    if unknown:
        raise ConfigError(f"{unknown[0]} is not a setting of Wick; .env.example lists them all.")
    values: dict[str, object] = {
        name: parse(PREFIX + name.upper(), given[PREFIX + name.upper()])
        for name, parse in _PARSERS.items()
        if PREFIX + name.upper() in given
    }
    values["providers"] = providers
    values.setdefault("threads", available_cpus())
    data_dir = values.setdefault("data_dir", Settings().data_dir)
    assert isinstance(data_dir, Path)  # noqa: S101 - told to the type checker only
    values.setdefault("models_dir", data_dir / "models")
    return Settings(**values)  # type: ignore[arg-type]  # each parser gives its field's type


def _in_file(path: Path) -> dict[str, str]:
    """Read a file of settings, which may be missing. Raises ConfigError."""
    try:
        text = path.read_text("utf-8") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise ConfigError(f"{path} cannot be read: {why}.") from error
    found = dotenv_values(stream=io.StringIO(text))
    return {name: value for name, value in found.items() if value is not None}


def wick_environment(
    environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")
) -> dict[str, str]:
    """Read all variables of Wick as they were given, keys for other servers included."""
    given = _in_file(dotenv) if dotenv else {}
    given |= os.environ if environ is None else environ
    return {name: value for name, value in given.items() if name.startswith(PREFIX) and value}


def other_programs_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read the variables that say where other programs keep their models."""
    given = os.environ if environ is None else environ
    return {name: given[name] for name in OTHER_PROGRAMS if given.get(name)}


def read_secret(
    name: str, environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")
) -> str:
    """Read the key in the variable `name` of the environment, else of `.env`; empty without one."""
    given = (os.environ if environ is None else environ).get(name)
    if given is None and dotenv is not None:
        given = _in_file(dotenv).get(name)
    return (given or "").strip()


def otlp_traces_endpoint(
    environ: Mapping[str, str] | None = None, dotenv: Path | None = Path(".env")
) -> str:
    """Read where traces go, from OpenTelemetry's own variables; empty for nowhere."""
    given = _in_file(dotenv) if dotenv else {}
    given |= os.environ if environ is None else environ
    if given.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return ""
    base = given.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip()
    whole = given.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "").strip()
    return whole or (f"{base.rstrip('/')}/v1/traces" if base else "")


def runner_environment() -> dict[str, str]:
    """The environment of a runner's process, with what its native library is to find there."""
    return NATIVE_DEFAULTS | os.environ


def confined_environment() -> dict[str, str]:
    """Environment of a process that reads hostile files: what Python needs, and no secrets."""
    needed = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR")
    return {name: os.environ[name] for name in needed if name in os.environ}


def tool_environment() -> dict[str, str]:
    """Environment of a program that the owner lets offer tools: what programs need, no secrets."""
    needed = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR")
    return {name: os.environ[name] for name in needed if name in os.environ}


_PARSERS: dict[str, Callable[[str, str], object]] = {
    "host": setting_values.parse_host,
    "port": setting_values.number(1, 65535),
    "base_path": setting_values.parse_base_path,
    "allowed_hosts": setting_values.parse_hosts,
    "accounts": setting_values.one_of("auto", "on", "off"),
    "trusted_proxies": setting_values.parse_networks,
    "auth_header": setting_values.parse_header,
    "auth_proxy": setting_values.parse_networks,
    "auth_create": setting_values.parse_bool,
    "auth_groups_header": setting_values.parse_header,
    "auth_owner_group": setting_values.parse_text,
    "auth_logout": setting_values.parse_sign_out,
    "tls_cert": setting_values.parse_path,
    "tls_key": setting_values.parse_path,
    "data_dir": setting_values.parse_path,
    "models_dir": setting_values.parse_path,
    "backup_dir": setting_values.parse_path,
    "backups_kept": setting_values.number(1, 1000),
    "backup_passphrase_file": setting_values.parse_path,
    "upgrade_copies_kept": setting_values.number(1, 1000),
    "default_model": setting_values.parse_text,
    "auto_pull": setting_values.parse_bool,
    "measure_engines": setting_values.parse_bool,
    "threads": setting_values.number(1, 256),
    "slots": setting_values.number(1, 32),
    "context": setting_values.parse_context,
    "kv_memory_mb": setting_values.number(16, 1_048_576),
    "kv_ram_mb": setting_values.number(0, 1_048_576),
    "kv_disk_mb": setting_values.number(0, 1_048_576),
    "kv_type": setting_values.one_of("f16", "q8_0"),
    "gpu_layers": setting_values.parse_layers,
    "keep_alive": setting_values.parse_duration,
    "model_memory_mb": setting_values.number(0, 16_777_216),
    "queue_limit": setting_values.number(1, 10_000),
    "max_tokens": setting_values.number(1, 1_048_576),
    "message_chars": setting_values.number(100, 1_000_000),
    "messages_per_second": setting_values.number(1, 1000),
    "sockets_per_user": setting_values.number(1, 100_000),
    "requests_per_user": setting_values.number(1, 100_000),
    "daily_tokens": setting_values.number(0, 1_000_000_000_000),
    "storage_mb_per_user": setting_values.number(0, 1_000_000_000),
    "chats_per_user": setting_values.number(1, 10_000_000),
    "messages_per_chat": setting_values.number(2, 1_000_000),
    "keep_free_mb": setting_values.number(0, 1_000_000_000),
    "upload_mb": setting_values.number(0, 16_777_216),
    "max_audio_mb": setting_values.number(1, 1024),
    "login_attempts": setting_values.number(1, 1000),
    "connections_per_address": setting_values.number(0, 1_000_000),
    "remote_timeout": setting_values.parse_duration,
    "mcp_timeout": setting_values.parse_duration,
    "titles": setting_values.one_of("auto", "on", "off"),
    "fetch_pictures": setting_values.parse_bool,
    "tool_seconds": setting_values.parse_duration,
    "read_web_pages": setting_values.parse_bool,
    "searxng": setting_values.parse_address,
    "temporary_grace": setting_values.parse_duration,
    "piper": setting_values.parse_text,
    "piper_voice": setting_values.parse_path,
    "key": setting_values.parse_text,
    "log": setting_values.one_of("text", "json"),
    "log_level": setting_values.one_of("debug", "info", "warning", "error"),
    "log_mb": setting_values.number(1, 100_000),
}
