"""The document says what there is: no more, no less, and schemathesis finds nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from quart import Quart

from app.api.docs import openapi
from app.config import Settings
from app.server import create_app
from app.web.addresses import is_api_path
from tests.e2e.server import Server, environment
from tests.patience import PATIENCE


@pytest.fixture
def app(tmp_path: Path) -> Quart:
    return create_app(Settings(data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False))


def test_every_route_is_documented_and_every_document_is_a_route(app: Quart) -> None:
    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if is_api_path(rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    documented = {
        (path, method) for path, methods in openapi()["paths"].items() for method in methods
    }
    assert routes == documented


def test_operation_ids_are_unique_and_references_exist() -> None:
    document = openapi()
    operations = [o for methods in document["paths"].values() for o in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(set(ids)) == len(ids)
    named = set(re.findall(r"#/components/schemas/(\w+)", str(document)))
    assert named <= set(document["components"]["schemas"])


async def test_the_documentation_page_has_every_operation(http: httpx.AsyncClient) -> None:
    page = await http.get("/docs/api")
    assert page.status_code == 200
    for path in openapi()["paths"]:
        assert path in page.text
    for name in openapi()["components"]["schemas"]:
        assert f'id="shape-{name}"' in page.text
    assert "http://" not in page.text.replace(str(http.base_url), "").replace("http://www.w3", "")
    assert (await http.get("/openapi.json")).json()["openapi"] == "3.1.0"


def test_schemathesis_finds_no_fault(server: Server, tmp_path: Path) -> None:
    """Requests made from the document, good and bad ones, to the real server. Among those of this
    seed are streams of both kinds."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    checks += ",response_schema_conformance,unsupported_method"
    command: list[Any] = [
        *(Path(sys.executable).with_name("schemathesis"), "run", f"{server.origin}/openapi.json"),
        *("--checks", checks, "--max-examples", "10", "--seed", "8"),
        *(
            "--phases",
            "examples,fuzzing",
            "--exclude-path-regex",
            "/(events|speech|transcriptions|translations)$",
        ),
        *("--request-timeout", str(PATIENCE)),
    ]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment({}) | {"SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks"},
        timeout=3 * PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
