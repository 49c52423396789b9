"""The pinned versions install on every Python that Wick promises."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OLDEST = "3.11.2"
"""Debian 12 has this one, which some packages do not take any more."""
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE))


def test_every_pinned_version_takes_the_python_of_debian_12() -> None:
    wrong = {}
    for name, version in PINS.items():
        try:
            about = metadata(name)
        except PackageNotFoundError:
            continue  # of another system or Python
        assert about["Version"] == version, f"{name} is not the pinned version"
        wanted = about["Requires-Python"] or ""
        if not SpecifierSet(wanted, prereleases=True).contains(OLDEST):
            wrong[name] = wanted
    assert wrong == {}


def test_what_wick_depends_on_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.match(r"[\w.-]+", entry)[0] for group in groups for entry in group}  # type: ignore[index]
    pinned = {canonicalize_name(name) for name in PINS}
    assert {canonicalize_name(name) for name in named} - pinned - {"wick", "pip"} == set()
