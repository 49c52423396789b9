"""The compose file beside docs/scaling.md has the form that Docker Compose wants."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DOCS / "compose.vllm.yaml").read_text())
    return loaded


def test_compose_has_a_head_and_workers_with_gpus(compose: dict[str, Any]) -> None:
    assert {name for name in compose if not name.startswith("x-")} == {"services"}
    assert compose["services"].keys() == {"head", "worker"}
    for name, service in compose["services"].items():
        assert service["profiles"] == [name]
        assert service["image"].startswith("vllm/vllm-openai:")
        assert service["network_mode"] == "host"
        assert "ports" not in service  # which the host's network has no use for
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
        (script,) = service["command"]
        assert service["entrypoint"] == ["/bin/bash", "-c"]
        assert not re.search(r"(?<!\$)\$(?!\$)", script)  # Compose would take it for its own
        for variable in re.findall(r"\$\$(\w+)", script):
            assert variable == "count" or variable in service["environment"]
    assert "--distributed-executor-backend ray" in compose["services"]["head"]["command"][0]


def test_compose_asks_for_settings_it_needs(compose: dict[str, Any]) -> None:
    environment = compose["services"]["head"]["environment"]
    for name in ("MODEL", "VLLM_API_KEY", "VLLM_HOST_IP"):
        assert ":?" in environment[name]


def test_the_page_names_options_that_there_are() -> None:
    text = (DOCS / "scaling.md").read_text()
    command = (DOCS.parent / "app/cli/remote_models.py").read_text()
    for option in re.findall(r"^\| `(--[a-z-]+)", text, re.MULTILINE):
        assert f'"{option}"' in command
