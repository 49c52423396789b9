from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from quart import Quart

from app.config import Settings
from app.web.security.hosts import is_allowed_host
from tests.application import OWN, run_app


@pytest.mark.parametrize(
    ("host", "is_allowed"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST:9", True),
        ("[::1]:8000", True),
        ("192.168.1.5:8000", True),  # an address cannot be rebound
        ("chat.home:8000", True),
        ("evil.example", False),
        ("localhost.evil.example:8000", False),
        ("127.0.0.1.evil.example", False),
        ("", False),
        ("localhost:80; script-src *", False),
        ("[::1", False),
        ("user@localhost", False),
    ],
)
def test_host_names(host: str, is_allowed: bool) -> None:
    settings = Settings(allowed_hosts=("chat.home",))
    assert is_allowed_host(host, settings) is is_allowed


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quart]:
    """Application of all tests here: nothing that they send is kept."""
    folder = tmp_path_factory.mktemp("hosts")
    async with run_app(folder) as made:
        yield made


async def test_foreign_host_is_refused(app: Quart) -> None:
    answer = await app.test_client().get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/chats/0123456789abcdef/stop"),
        ("POST", "/chats/0123456789abcdef/name"),
        ("POST", "/chats/0123456789abcdef/restore"),
        ("POST", "/chats/0123456789abcdef/messages/1/take-back"),
        ("DELETE", "/chats/0123456789abcdef"),
        ("POST", "/models/smollm2-135m/pull"),
        ("POST", "/models/pull"),
        ("POST", "/models/tiny/load"),
        ("POST", "/models/tiny/settings"),
        ("DELETE", "/models/tiny"),
        ("PUT", "/models/upload/tiny.gguf"),
    ],
)
@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:9999", "null", None])
async def test_a_changing_request_needs_our_origin(
    app: Quart, method: str, path: str, origin: str | None
) -> None:
    headers = {"Host": "localhost:8000"} | ({"Origin": origin} if origin else {})
    answer = await getattr(app.test_client(), method.lower())(path, headers=headers)
    assert answer.status_code == 403


async def test_pages_carry_the_policy_and_are_not_kept(app: Quart) -> None:
    answer = await app.test_client().get("/", headers=OWN)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Cache-Control"] == "no-store"
    html = await answer.get_data(as_text=True)
    assert "<script>" not in html
    assert " style=" not in html
    assert "http://" not in html.replace("http://www.w3.org", "")


async def test_unknown_chats_and_pages_are_a_sentence(app: Quart) -> None:
    client = app.test_client()
    for path in (
        "/chats/zzz",
        "/chats/0000000000000000",
        "/chats/..%2f..%2fetc",
        "/nothing",
        "/static/../app/config.py",
    ):
        answer = await client.get(path, headers=OWN)
        assert answer.status_code == 404, path
    answer = await client.get("/chats/0000000000000000", headers=OWN | {"Accept": "text/html"})
    assert 'href="/"' in await answer.get_data(as_text=True)
    answer = await client.post("/chats/0123456789abcdef/stop", headers=OWN)
    assert answer.status_code == 404
    assert "no such chat" in await answer.get_data(as_text=True)
    answer = await client.post("/models/unheard-of/pull", headers=OWN | {"HX-Request": "true"})
    assert answer.status_code in {404, 502}
    assert 'id="notice"' in await answer.get_data(as_text=True)


async def test_health_is_json(app: Quart) -> None:
    answer = await app.test_client().get("/healthz", headers=OWN)
    assert (await answer.get_json())["status"] == "ok"


async def test_status_shows_figures_and_nobodys_words(app: Quart) -> None:
    answer = await app.test_client().get("/status", headers=OWN)
    html = await answer.get_data(as_text=True)
    assert "No model has been used" in html
