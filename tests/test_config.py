from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path

import pytest

from app.config import Settings, load_settings
from app.errors import ConfigError
from app.login_settings import PROVIDER_VARIABLES


def test_defaults_fill_what_is_not_given(tmp_path: Path) -> None:
    settings = load_settings({"WICK_DATA_DIR": str(tmp_path)}, None)
    assert settings.models_dir == tmp_path / "models"
    assert settings.port == 8000
    assert settings.threads >= 1
    assert settings.is_loopback


def test_environment_wins_over_dotenv(tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("WICK_PORT=9000\nWICK_SLOTS=2\n")
    settings = load_settings({"WICK_PORT": "9001"}, dotenv)
    assert (settings.port, settings.slots) == (9001, 2)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WICK_PORT", "eighty"),
        ("WICK_PORT", "0"),
        ("WICK_PORT", "70000"),
        ("WICK_THREADS", "-1"),
        ("WICK_AUTO_PULL", "maybe"),
        ("WICK_HOST", "http://localhost"),
        ("WICK_DATA_DIR", "a\0b"),
        ("WICK_LOG_LEVEL", "loud"),
        ("WICK_COLOUR", "blue"),
    ],
)
def test_wrong_value_is_one_line_naming_it(name: str, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings({name: value}, None)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("box", False)],
)
def test_knows_loopback_addresses(host: str, is_loopback: bool) -> None:
    assert load_settings({"WICK_HOST": host}, None).is_loopback is is_loopback


def test_example_names_every_setting_and_no_other() -> None:
    text = Path(__file__).parents[1].joinpath(".env.example").read_text()
    named = set(re.findall(r"^#(WICK_[A-Z_]+)=", text, re.MULTILINE))
    known = {f"WICK_{field.name.upper()}" for field in fields(Settings)} - {"WICK_PROVIDERS"}
    assert named == known | {f"WICK_OIDC_COMPANY_{end}" for end in PROVIDER_VARIABLES}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2H", 7200), ("1d", 86400), ("45", 45), ("never", math.inf)],
)
def test_a_time_has_a_unit(text: str, seconds: float) -> None:
    assert load_settings({"WICK_KEEP_ALIVE": text}, None).keep_alive == seconds


@pytest.mark.parametrize("text", ["soon", "5w", "-1m", "m", "1.5h", "9999999m"])
def test_a_malformed_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="WICK_KEEP_ALIVE"):
        load_settings({"WICK_KEEP_ALIVE": text}, None)


@pytest.mark.parametrize(("text", "is_on"), [("on", True), ("Off", False), ("1", True)])
def test_a_switch_is_on_or_off(text: str, is_on: bool) -> None:
    assert load_settings({"WICK_AUTO_PULL": text}, dotenv=None).auto_pull is is_on


def test_gpu_layers_are_a_number_or_all_that_fit() -> None:
    def layers(text: str) -> int | None:
        return load_settings({"WICK_GPU_LAYERS": text}, None).gpu_layers

    assert load_settings({}, None).gpu_layers is None
    assert [layers("auto"), layers("0"), layers("24")] == [None, 0, 24]
    for text in ("-1", "all", "10001", "1.5"):
        with pytest.raises(ConfigError, match=r"WICK_GPU_LAYERS=.*, or auto\.$"):
            layers(text)
