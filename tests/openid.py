"""OpenID providers on loopback: one that does what a test says, and one in a process of its own."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import httpx
from joserfc import jwt
from joserfc.jwk import RSAKey

from app.login_settings import ProviderSettings
from tests.e2e.server import free_port
from tests.patience import PATIENCE

CLIENT, SECRET = "wick", "a secret: with / signs"
Answer = tuple[int, Mapping[str, str], bytes]


@cache
def signing_key(kid: str = "one") -> RSAKey:
    return RSAKey.generate_key(2048, parameters={"kid": kid, "use": "sig"})


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def json_answer(content: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(content).encode()


class ScriptedProvider:
    """A provider that logs in whoever comes as `user`.

    changes: claims of its ID tokens that are others than they should be, None to leave one out;
    metadata: the same of its discovery document; answers: what it answers with at a path instead;
    sign: makes tokens in another way; parameters: what it adds to the address of its answer.
    """

    def __init__(self) -> None:
        self.user: dict[str, Any] = {
            "sub": "ann-1",
            "preferred_username": "ann",
            "email": "ann@example.org",
            "email_verified": True,
        }
        self.userinfo: dict[str, Any] = {}
        self.changes: dict[str, Any] = {}
        self.metadata: dict[str, Any] = {}
        self.answers: dict[str, Callable[[], Answer]] = {}
        self.parameters: dict[str, str] = {}
        self.key = signing_key()
        self.published = [self.key]
        self.sign: Callable[[dict[str, Any]], str] = self.signed
        self.requests: list[str] = []
        self.released = threading.Event()
        self._codes: dict[str, dict[str, str]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=lambda: self._server.serve_forever(0.01))
        self._thread.start()

    def settings(self, **given: Any) -> ProviderSettings:
        values: dict[str, Any] = {
            "name": "company",
            "issuer": self.issuer,
            "client_id": CLIENT,
            "client_secret": SECRET,
        }
        return ProviderSettings(**values | given)

    def close(self) -> None:
        self.released.set()
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def signed(self, claims: dict[str, Any], **header: Any) -> str:
        return jwt.encode({"alg": "RS256", "kid": self.key.kid} | header, claims, self.key)

    def logout_token(self, **changes: Any) -> str:
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 120,
            "jti": "1",
            "sub": self.user["sub"],
            "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
        } | changes
        return self.signed({k: v for k, v in claims.items() if v is not None})

    def authorize(self, address: str) -> str:
        """Log in at the address to which Wick has sent a browser; return that of the answer."""
        query = {k: v[0] for k, v in parse_qs(urlsplit(address).query).items()}
        assert query["response_type"] == "code"
        assert query["code_challenge_method"] == "S256"
        code = f"code {len(self._codes)}"
        self._codes[code] = query
        values = {"code": code, "state": query["state"]} | self.parameters
        return f"{query['redirect_uri']}?{urlencode(values)}"

    # What Wick asks.

    def answer(self, path: str, headers: Mapping[str, str], form: dict[str, str]) -> Answer:
        self.requests.append(path)
        if path in self.answers:
            return self.answers[path]()
        if path == "/.well-known/openid-configuration":
            return json_answer(self._discovery())
        if path == "/keys":
            return json_answer({"keys": [key.as_dict(private=False) for key in self.published]})
        if path == "/token":
            return self._tokens(headers, form)
        if path == "/userinfo":
            assert headers["Authorization"] == "Bearer access"
            return json_answer(self.user | self.userinfo)
        return json_answer({}, 404)

    def hang(self) -> Answer:
        self.released.wait(PATIENCE)
        return json_answer({}, 500)

    def _discovery(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/logout",
            "authorization_response_iss_parameter_supported": False,
        } | self.metadata
        return {name: value for name, value in found.items() if value is not None}

    def _tokens(self, headers: Mapping[str, str], form: dict[str, str]) -> Answer:
        query = self._codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        if query is None or query["redirect_uri"] != form.get("redirect_uri"):
            return json_answer({"error": "invalid_grant"}, 400)
        if b64(digest) != query["code_challenge"]:
            return json_answer({"error": "invalid_grant"}, 400)
        if not self._is_client(headers, form):
            return json_answer({"error": "invalid_client"}, 401)
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": query["nonce"],
            "sid": "session 1",
        }
        claims |= self.user | self.changes
        token = self.sign({name: value for name, value in claims.items() if value is not None})
        return json_answer({"id_token": token, "access_token": "access", "token_type": "Bearer"})

    @staticmethod
    def _is_client(headers: Mapping[str, str], form: dict[str, str]) -> bool:
        if "client_secret" in form:
            return (form["client_id"], form["client_secret"]) == (CLIENT, SECRET)
        kind, _, pair = headers.get("Authorization", "").partition(" ")
        given = base64.b64decode(pair).decode().split(":")
        return kind == "Basic" and [unquote_plus(part) for part in given] == [CLIENT, SECRET]


def _handler(provider: ScriptedProvider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(provider.answer(urlsplit(self.path).path, dict(self.headers), {}))

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            form = {k: v[0] for k, v in parse_qs(self.rfile.read(length).decode()).items()}
            self._send(provider.answer(urlsplit(self.path).path, dict(self.headers), form))

        def _send(self, answer: Answer) -> None:
            status, headers, content = answer
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # Wick has heard enough

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


@contextmanager
def scripted_provider() -> Iterator[ScriptedProvider]:
    provider = ScriptedProvider()
    try:
        yield provider
    finally:
        provider.close()


@contextmanager
def real_provider(*users: dict[str, Any]) -> Iterator[str]:
    """Run oidc-provider-mock in a process of its own; yields its issuer."""
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)]
    for user in users:
        command += ["--user-claims", json.dumps(user)]
    process = subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--require-nonce", "true"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    issuer = f"http://127.0.0.1:{port}"
    try:
        _wait_for(issuer, process)
        yield issuer
    finally:
        process.terminate()
        process.wait()


def _wait_for(issuer: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None
        try:
            httpx.get(f"{issuer}/.well-known/openid-configuration").raise_for_status()
        except httpx.TransportError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return
