"""What pages consist of: how it is named, kept and compressed, and how much of it there is."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from quart import Quart

from app.config import Settings, asset_dir
from app.server import create_app
from app.web.assets import FRAME, FRAME_SCRIPTS, SCRIPTS, STANDALONE, STYLES, Assets

OWN = {"Host": "localhost:8000", "Accept-Encoding": "gzip, br"}
STATIC = asset_dir("static")
MOST_SCRIPT_BYTES = 27_000
MOST_LAZY_BYTES = 5_000


@pytest.fixture
async def app(tmp_path: Path) -> Quart:
    return create_app(Settings(data_dir=tmp_path, models_dir=tmp_path / "models", auto_pull=False))


async def test_our_own_scripts_weigh_little(app: Quart) -> None:
    """As they come over the wire, compressed; the vendored ones count only for the whole page."""
    async with app.test_app() as served:
        client, sizes = served.test_client(), dict[str, int]()
        for name in (SCRIPTS, *STANDALONE):
            answer = await client.get(Assets(STATIC).address(name), headers=OWN)
            assert answer.status_code == 200
            sizes[name] = len(await answer.get_data(as_text=False))
    assert sum(sizes.values()) <= MOST_SCRIPT_BYTES, sizes


async def test_what_comes_lazily_is_light_and_in_no_bundle(app: Quart) -> None:
    async with app.test_app() as served:
        client = served.test_client()
        for path in STATIC.glob("lazy/*.js"):
            answer = await client.get(f"/static/lazy/{path.name}", headers=OWN)
            assert answer.status_code == 200
            assert len(await answer.get_data(as_text=False)) < MOST_LAZY_BYTES, path.name
            assert path.read_bytes() not in Assets(STATIC).content(SCRIPTS)


def test_no_script_is_crammed() -> None:
    for path in (*STATIC.glob("*.js"), *STATIC.glob("lazy/*.js")):
        lines = path.read_text().splitlines()
        assert max(map(len, lines)) <= 110, path.name
        assert sum(map(len, lines)) / len(lines) < 60, path.name


def test_all_scripts_are_one_in_which_names_stay_apart() -> None:
    content, frame = (Assets(STATIC).content(name).decode() for name in (SCRIPTS, FRAME_SCRIPTS))
    for path in STATIC.glob("*.js"):
        block = f"try {{\n{path.read_text()}}} catch (error) {{ console.error(error); }}\n"
        assert (block in content) == (path.name not in STANDALONE)
        assert (block in frame) == (path.name in FRAME)
        assert not re.search(r"^(import|export)\b", path.read_text(), re.MULTILINE)


def test_all_styles_are_one() -> None:
    content = Assets(STATIC).content(STYLES).decode()
    assert content.startswith((STATIC / "wick.css").read_text())
    for path in STATIC.glob("*.css"):
        assert path.read_text() in content


def test_colours_follow_the_theme_a_user_chose() -> None:
    """`prefers-color-scheme` knows only the system's; `light-dark()` follows `color-scheme`."""
    for path in STATIC.glob("*.css"):
        assert "prefers-color-scheme" not in path.read_text(), path.name


def test_no_sheet_hides_what_another_sheet_shows() -> None:
    """All sheets are one: a class that two of them use for different things hides the wrong one."""
    shown, hidden = dict[str, set[str]](), set[tuple[str, str]]()
    for path in STATIC.glob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
        for selectors, rule in re.findall(r"([^{}]+)\{([^{}]*)\}", text):
            alone = re.sub(r"\([^()]*\)", "()", selectors)
            for name in re.findall(r"(?:^|,)\s*(\.[\w-]+)\s*(?=,|$)", alone):
                if re.search(r"\bdisplay:\s*none", rule):
                    hidden.add((name, path.name))
                else:
                    shown.setdefault(name, set()).add(path.name)
    assert not {(name, sheet) for name, sheet in hidden if shown.get(name, set()) - {sheet}}


@pytest.mark.parametrize("name", [SCRIPTS, STYLES, "vendor/htmx-4.0.1.min.js", "icon.svg"])
async def test_files_are_kept_for_good_and_compressed(app: Quart, name: str) -> None:
    async with app.test_app() as served:
        client = served.test_client()
        assets = Assets(STATIC)
        answer = await client.get(assets.address(name), headers=OWN)
        assert "immutable" in answer.headers["Cache-Control"]
        whole = await answer.get_data(as_text=False)
        if answer.headers.get("Content-Encoding"):
            assert int(answer.headers["Content-Length"]) == len(whole)
            whole = gzip.decompress(whole)
        else:
            assert len(whole) < 600
        assert whole == assets.content(name)
        plain = await client.get(assets.address(name), headers=OWN | {"Accept-Encoding": "br"})
        assert "Content-Encoding" not in plain.headers
        assert await plain.get_data(as_text=False) == whole


async def test_pages_are_compressed_unless_another_site_asks(app: Quart) -> None:
    async with app.test_app() as served:
        client = served.test_client()
        for site, is_packed in {"none": True, "same-origin": True, "cross-site": False}.items():
            answer = await client.get("/", headers=OWN | {"Sec-Fetch-Site": site})
            assert ("Content-Encoding" in answer.headers) == is_packed
            assert "Sec-Fetch-Site" in answer.headers["Vary"]


async def test_wick_can_be_installed(app: Quart) -> None:
    async with app.test_app() as served:
        client = served.test_client()
        answer = await client.get("/static/manifest.webmanifest", headers=OWN)
        assert answer.mimetype == "application/manifest+json"
        manifest = json.loads((STATIC / "manifest.webmanifest").read_text())
        assert manifest["display"] == "standalone"
        for icon in manifest["icons"]:
            found = await client.get(f"/static/{icon['src']}", headers=OWN)
            assert found.status_code == 200
            assert found.mimetype == icon["type"]
            if icon["type"] == "image/png":
                data = await found.get_data(as_text=False)
                size = "x".join(str(int.from_bytes(data[at : at + 4], "big")) for at in (16, 20))
                assert icon["sizes"] == size
        policy = answer.headers["Content-Security-Policy"]
        assert "manifest-src 'self'" in policy
