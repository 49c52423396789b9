"""Who may read the figures for Prometheus, and what is in them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from quart import Quart

from app.web.pages.metrics import CONTENT_TYPE
from tests.application import context_of, run_app, sign_in, text_of

ROOT = Path(__file__).parents[3]
WORDS = "walnut and thyme"
WATCHED = {
    "requests": "wick_http_responses",
    "their time": "wick_http_response_seconds",
    "answers": "wick_answers",
    "queue": "wick_waiting_requests",
    "time to first token": "wick_first_token_seconds",
    "tokens written": "wick_completion_tokens",
    "tokens read, by tier of the cache": "wick_prompt_tokens",
    "memory of models": "wick_model_resident_bytes",
    "memory of the server": "wick_server_memory_bytes",
    "sockets": "wick_tabs",
    "errors": "wick_log_lines",
    "pulls": "wick_pulls_running",
    "pulls that failed": "wick_pulls_failed",
}
"""What is to be watched, and the family of its figures."""


async def scrape(app: Quart, address: str, host: str = "localhost:8000", **headers: str) -> Any:
    return await app.test_client().get(
        "/metrics", headers={"Host": host} | headers, scope_base={"client": (address, 1)}
    )


def found_in(text: str) -> dict[str, float]:
    """The samples by name and labels."""
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_figures_tell_of_requests_answers_and_the_machine(
    tmp_path: Path, tiny_store: Path
) -> None:
    async with run_app(tmp_path, models_dir=tiny_store) as app:
        asked = {"model": "tiny", "max_tokens": 3, "messages": [{"role": "user", "content": WORDS}]}
        made = await app.test_client().post("/v1/chat/completions", json=asked)
        assert made.status_code == 200
        answer = await scrape(app, "127.0.0.1")
        text = await text_of(answer)
        assert answer.headers["Content-Type"] == CONTENT_TYPE
    found = found_in(text)
    assert found["wick_http_responses_total POST /v1/chat/completions 200"] == 1
    assert found["wick_completion_tokens_total tiny"] >= 1
    assert found["wick_first_token_seconds_count tiny"] == 1
    assert found["wick_model_loaded tiny"] == 1
    assert found["wick_model_resident_bytes tiny"] > 1e6
    assert found["wick_disk_free_bytes data"] > 0
    assert found["wick_database_bytes"] > 0
    assert found["wick_tabs"] == 0
    assert WORDS not in text
    families = {family.name for family in text_string_to_metric_families(text)}
    assert sorted(set(WATCHED.values()) - families) == []


def names_of(family: Metric) -> set[str]:
    """The names of a family's samples, whether it has any now or not."""
    endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {family.name + ending for ending in endings.get(family.type, ("",))}


async def test_the_dashboard_shows_only_figures_that_there_are(tmp_path: Path) -> None:
    async with run_app(tmp_path) as app:
        text = await text_of(await scrape(app, "127.0.0.1"))
    known = {name for family in text_string_to_metric_families(text) for name in names_of(family)}
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    shown = set[str]()
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            names = set(re.findall(r"wick_\w+", target["expr"]))
            assert names, panel["title"]
            shown |= names
    assert sorted(shown - known) == []
    missing = {name for name in WATCHED.values() if not any(s.startswith(name) for s in shown)}
    assert missing <= {"wick_pulls_failed", "wick_pulls_running"}


async def test_owners_programs_and_this_machine_may_read_them_and_nobody_else(
    tmp_path: Path,
) -> None:
    async with run_app(tmp_path, accounts="on") as app:
        owner, member = await sign_in(app, "ada", "owner"), await sign_in(app, "ben")
        keys = {}
        for name in ("ada", "ben"):
            user = await context_of(app).users.get_by_name(name)
            keys[name], _ = await context_of(app).api_keys.add(user.id, "monitor", ["read"])
        far = "192.0.2.1"
        assert (await scrape(app, "127.0.0.1")).status_code == 200
        assert (await scrape(app, far)).status_code == 401
        assert (await scrape(app, "127.0.0.1", "chat.example.org")).status_code in {401, 403, 421}
        forwarded = await scrape(app, "127.0.0.1", **{"X-Forwarded-For": far})
        assert forwarded.status_code == 401
        for name, status in (("ada", 200), ("ben", 403)):
            answer = await scrape(app, far, Authorization=f"Bearer {keys[name]}")
            assert answer.status_code == status
        assert (await scrape(app, far, Authorization="Bearer wick_no")).status_code == 401
        assert (await owner.ask("GET", "/metrics")).status_code == 200
        assert (await member.ask("GET", "/metrics")).status_code == 403
