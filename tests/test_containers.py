"""The container files say what Wick and its build really have."""

from __future__ import annotations

import ipaddress
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli import COMMANDS
from app.cli.serve import check
from app.config import load_settings

ROOT = Path(__file__).parents[1]


class _Reset:
    """What `!reset` takes away in another file."""


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    pass


_Loader.add_constructor("!reset", lambda loader, node: _Reset())


def compose(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((ROOT / name).read_text(), _Loader)  # noqa: S506
    return loaded


@pytest.fixture(scope="module")
def instructions() -> list[tuple[str, str]]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in lines]


def test_the_image_is_built_of_what_the_wheel_has(instructions: list[tuple[str, str]]) -> None:
    copied = {
        word
        for name, rest in instructions
        if name == "COPY" and not rest.startswith("--from")
        for word in rest.split()[:-1]
    }
    assert {name for name in copied if not (ROOT / name).exists()} == set()
    included = re.findall(r'^"(\w+)" = "app/', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {"app", "pyproject.toml", "constraints.txt", "README.md", "LICENSE"} <= copied
    assert set(included) <= copied
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not copied & set(ignored)
    assert ".env" in ignored


def test_the_container_runs_as_nobody_in_particular(instructions: list[tuple[str, str]]) -> None:
    said = dict(instructions)
    assert said["USER"] == "wick"
    assert json.loads(said["ENTRYPOINT"]) == ["wick"]
    assert json.loads(said["CMD"]) == ["serve"]
    assert json.loads(said["HEALTHCHECK"].partition("CMD ")[2]) == ["wick", "health"]
    assert {"serve", "health"} <= COMMANDS.keys()
    assert json.loads(said["VOLUME"]) == ["/data"]
    environment = dict(re.findall(r"(WICK_\w+)=(\S+)", said["ENV"]))
    settings = load_settings(environment, None)
    assert str(settings.data_dir) == "/data"
    assert settings.has_accounts


def test_compose_lets_only_this_machine_in() -> None:
    service = compose("compose.yaml")["services"]["wick"]
    assert service["ports"] == ["127.0.0.1:8000:8000"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    settings = load_settings(service["environment"], None)
    check(settings)
    assert settings.has_accounts
    assert settings.models_dir.is_relative_to(settings.data_dir)
    assert service["volumes"] == [f"data:{settings.data_dir}"]


def test_the_proxy_with_tls_is_trusted_and_alone_reachable() -> None:
    found = compose("compose.tls.yaml")
    wick, proxy = found["services"]["wick"], found["services"]["proxy"]
    assert isinstance(wick["ports"], _Reset)
    (network,) = found["networks"].values()
    (inside,) = network["ipam"]["config"]
    base = compose("compose.yaml")["services"]["wick"]["environment"]
    given = base | wick["environment"] | {"WICK_ALLOWED_HOSTS": "chat.example.org"}
    settings = load_settings(given, None)
    assert settings.trusted_proxies == (ipaddress.ip_network(inside["subnet"]),)
    assert proxy["command"][-1] == f"wick:{settings.port}"
    assert wick["networks"] == proxy["networks"] == list(found["networks"])


def test_a_gpu_is_an_addition_to_the_same_service() -> None:
    service = compose("compose.gpu.yaml")["services"]["wick"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert "LLAMA" in service["build"]["args"]
