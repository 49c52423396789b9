"""What programs send: how large, in which kind, compressed how, and to which address."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from quart import Quart, Response

from app.web.bodies import MIB, max_body_bytes
from tests.application import OWN, run_app

CHAT = "/v1/chat/completions"
ASKED = json.dumps({"model": "none", "messages": [{"role": "user", "content": "Hello"}]}).encode()
JSON = {"Content-Type": "application/json"}
HOST = {"Host": OWN["Host"]}
NO_SUCH_MODEL = 404


@pytest.fixture(scope="module")
async def app(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Quart]:
    """Application of all tests here: nothing that they send is kept."""
    folder = tmp_path_factory.mktemp("bodies")
    async with run_app(folder) as made:
        yield made


async def post(app: Quart, path: str, body: bytes, **headers: str) -> Response:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await app.test_client().post(path, data=body, headers=HOST | JSON | given)


async def problem(answer: Response) -> str:
    """Its sentence, in OpenAI's or Ollama's words."""
    error: Any = (await answer.get_json())["error"]
    return str(error if isinstance(error, str) else error["message"])


async def test_the_longest_allowed_list_of_texts_fits(app: Quart) -> None:
    texts = ["word " * 400] * 2048
    for path in ("/v1/embeddings", "/api/embed", "/embeddings"):
        answer = await post(app, path, json.dumps({"model": "none", "input": texts}).encode())
        assert answer.status_code == NO_SUCH_MODEL, await answer.get_data(as_text=True)


@pytest.mark.parametrize(
    "path", ["/v1/chat/completions", "/v1/embeddings", "/api/chat", "/api/v1/chats"]
)
async def test_a_body_that_is_too_large_is_refused_with_a_sentence(app: Quart, path: str) -> None:
    most = max_body_bytes(path)
    answer = await post(app, path, b" " * (most + 1))
    assert answer.status_code == 413
    assert f"limit is {most // MIB} MiB" in await problem(answer)


async def test_a_form_that_is_too_large_is_refused_with_a_sentence(app: Quart) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    path = "/chats/0123456789abcdef/name"
    answer = await app.test_client().post(path, data=b"x" * (MIB + 1), headers=OWN | form)
    assert answer.status_code == 413
    assert "limit is 1 MiB" in await answer.get_data(as_text=True)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(ASKED)),
    "x-gzip": ("X-GZIP", gzip.compress(ASKED)),
    "gzip in two parts": ("gzip", gzip.compress(ASKED[:9]) + gzip.compress(ASKED[9:])),
    "deflate": ("deflate", zlib.compress(ASKED)),
    "deflate without a head": ("deflate", raw_deflate(ASKED)),
    "identity": ("identity", ASKED),
}


@pytest.mark.parametrize("name", PACKED)
async def test_compressed_bodies_are_accepted(app: Quart, name: str) -> None:
    encoding, body = PACKED[name]
    answer = await post(app, CHAT, body, Content_Encoding=encoding)
    assert answer.status_code == NO_SUCH_MODEL
    assert "none" in await problem(answer)


DAMAGED = {
    "no gzip": ("gzip", ASKED),
    "cut off": ("gzip", gzip.compress(ASKED)[:-9]),
    "a wrong sum": ("gzip", gzip.compress(ASKED)[:-8] + bytes(8)),
    "more behind it": ("gzip", gzip.compress(ASKED) + b"more"),
    "no deflate": ("deflate", b"\xff" + ASKED),
    "more behind deflate": ("deflate", zlib.compress(ASKED) + b"more"),
}


@pytest.mark.parametrize("name", DAMAGED)
async def test_damaged_bodies_are_refused(app: Quart, name: str) -> None:
    encoding, body = DAMAGED[name]
    answer = await post(app, CHAT, body, Content_Encoding=encoding)
    assert answer.status_code == 400
    assert "damaged" in await problem(answer)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "\xff"])
async def test_other_encodings_are_refused(app: Quart, encoding: str) -> None:
    answer = await post(app, CHAT, ASKED, Content_Encoding=encoding)
    assert answer.status_code == 415
    assert "takes gzip and deflate" in await problem(answer)


async def test_inflating_stops_at_the_limit(app: Quart) -> None:
    for encoding, packed in (
        ("gzip", gzip.compress(bytes(64 * MIB))),
        ("deflate", zlib.compress(bytes(64 * MIB))),
    ):
        answer = await post(app, CHAT, packed, Content_Encoding=encoding)
        assert answer.status_code == 413
        assert "limit is 8 MiB" in await problem(answer)


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        'application/json;charset="UTF8"',
        "application/vnd.api+json",
        "Application/JSON; x=y",
    ],
)
async def test_media_types_of_json_are_accepted(app: Quart, kind: str) -> None:
    assert (await post(app, CHAT, ASKED, Content_Type=kind)).status_code == NO_SUCH_MODEL


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "image/png",
        "+json",
        "application/json; charset=klingon",
        "application/json; charset=utf-16",
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer any"}], ids=["no key", "key"])
async def test_other_media_types_are_refused(
    app: Quart, kind: str, headers: dict[str, str]
) -> None:
    answer = await post(app, CHAT, ASKED, Content_Type=kind, **headers)
    assert answer.status_code == 415
    assert "application/json" in await problem(answer)


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "\xff"}',
        b'{"model": "\xc3"}',
        b"\xff\xfe{}",
        b'{"model": "\\ud800"}',
        b'{"\xff": 1}',
        b'{"model": "none", "messages": [{"role": "user", "content": "\xed\xa0\x80"}]}',
        b"{",
        b"\0",
    ],
)
@pytest.mark.parametrize(
    "path", [CHAT, "/v1/embeddings", "/api/chat", "/api/generate", "/api/show", "/api/v1/chats"]
)
async def test_bodies_that_are_not_json_are_refused(app: Quart, path: str, body: bytes) -> None:
    assert (await post(app, path, body)).status_code in {400, 404}


@pytest.mark.parametrize("text", ["\\ud800", "\\udfff x", "\\ud800\\ud800", "x\\uDE00"])
async def test_the_error_for_half_a_character_names_it(app: Quart, text: str) -> None:
    answer = await post(app, CHAT, f'{{"model": "{text}"}}'.encode())
    assert answer.status_code == 400
    assert "half a character" in await problem(answer)


@pytest.mark.parametrize("path", ["/chat/completions", "/completions", "/embeddings"])
async def test_paths_without_v1_are_aliases(app: Quart, path: str) -> None:
    body = json.dumps(
        {
            "model": "none",
            "prompt": "x",
            "input": "x",
            "messages": [{"role": "user", "content": "x"}],
        }
    )
    with_v1, without = [await post(app, prefix + path, body.encode()) for prefix in ("/v1", "")]
    assert with_v1.status_code == without.status_code == NO_SUCH_MODEL
    assert await with_v1.get_json() == await without.get_json()


BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Sec-Fetch-Site": "none"}


async def test_aliases_below_a_base_path(tmp_path: Path) -> None:
    async with run_app(tmp_path, base_path="/wick") as made:
        answer = await post(made, "/wick/chat/completions", ASKED)
        assert answer.status_code == NO_SUCH_MODEL
        assert "none" in await problem(answer)


async def test_models_are_a_page_for_browsers_and_a_list_for_programs(app: Quart) -> None:
    client = app.test_client()
    for headers in (
        {"Accept": "application/json"},
        {"Authorization": "Bearer any", "Accept": "*/*"},
    ):
        answer = await client.get("/models", headers=HOST | headers)
        assert (await answer.get_json())["object"] == "list"
    for headers in ({}, {"Accept": "*/*"}, BROWSER):
        answer = await client.get("/models", headers=HOST | headers)
        assert "<html" in await answer.get_data(as_text=True)


async def test_health_at_every_usual_address(app: Quart) -> None:
    for path in ("/health", "/healthz", "/v1/health"):
        answer = await app.test_client().get(path, headers=HOST)
        assert (await answer.get_json())["status"] == "ok"


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path",
    ["/v2/chat/completions", "/completion", "/openai/v1/models", "/v1", "/infill", "/v1/nothing"],
)
async def test_a_wrong_path_is_json_for_programs(app: Quart, method: str, path: str) -> None:
    for headers in (JSON, {"Content-Type": "text/plain"}, {"Accept": "*/*"}):
        answer = await app.test_client().open(
            path, method=method, headers=HOST | headers, json=None
        )
        assert answer.status_code == 404
        assert "There is nothing at this address" in await problem(answer)


async def test_a_wrong_path_is_a_page_for_browsers(app: Quart) -> None:
    answer = await app.test_client().get("/nothing", headers=HOST | BROWSER)
    assert answer.status_code == 404
    assert "<html" in await answer.get_data(as_text=True)


async def test_a_wrong_path_from_another_site_is_refused(app: Quart) -> None:
    foreign = {"Origin": "http://evil.example"}
    answer = await app.test_client().post("/nothing", headers=HOST | foreign)
    assert answer.status_code == 403
