"""Wick on a disk without room: it shows what there is, lets delete, and goes on when there is some.

The disk is one in memory, which only the server's process sees.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.async_api import expect

from app.disk_reserve import FILE
from tests.e2e.conftest import TINY, Meet, StartServer
from tests.e2e.person import CONNECTION_LOST
from tests.e2e.server import Server
from tests.e2e.test_failed_starts import is_one_line
from tests.long_chat import plant

UNSHARE = ("unshare", "--map-root-user", "--mount")
MOUNT = """
mount -t tmpfs -o size=32m none "$DISK" && cp -a "$SEED/." "$DISK" || exit 9
dd if=/dev/zero of="$DISK/filler" bs=4k 2>/dev/null
exec "$@"
"""
HERE = [*UNSHARE, "sh", "-c", MOUNT, "sh"]


def can_mount() -> bool:
    if shutil.which("unshare") is None:
        return False
    done = subprocess.run(
        [*UNSHARE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return done.returncode == 0


pytestmark = pytest.mark.skipif(not can_mount(), reason="no disk can be mounted here")


@pytest.fixture
async def seed(start: StartServer, tiny_store: Path) -> Path:
    """A data folder as Wick leaves it, with a chat."""
    server = await start(tiny_store)
    assert await server.stop() == 0
    plant(server.folder / "wick.db", 2, "Walnuts")
    (server.folder / "server.log").unlink()
    return server.folder


@pytest.fixture
def on_full_disk(seed: Path, tiny_store: Path, tmp_path: Path) -> Callable[[], Server]:
    (tmp_path / "disk").mkdir()
    given = {"DISK": str(tmp_path / "disk"), "SEED": str(seed)}

    def make() -> Server:
        return Server(
            tmp_path, tiny_store, given, before=HERE, data_dir=tmp_path / "disk", max_tokens=20
        )

    return make


async def test_wick_starts_read_only_on_a_full_disk_and_lets_delete(
    on_full_disk: Callable[[], Server], meet: Meet, tmp_path: Path
) -> None:
    server = await on_full_disk().start()
    try:
        assert "The disk is full" in server.log
        person = await meet(server)
        person.expects(CONNECTION_LOST)  # the server ends before the page
        chat = await person.open()
        page, full = chat.page, chat.page.locator("#full")
        await expect(full).to_contain_text("The disk is full, so this Wick is read-only")
        await chat.message.fill("This must not be lost")
        await chat.message.press("Enter")
        await expect(chat.notice).to_contain_text("The disk is full")
        await expect(chat.message).to_have_value("This must not be lost")

        await chat.chats.get_by_role("link", name="Walnuts").click()
        await expect(chat.answers.first).to_have_attribute("data-status", "done")
        models = await person.window()
        await models.goto(f"{server.origin}/models")
        await expect(models.locator("#full")).to_contain_text("read-only")
        await models.close()

        chat_id = chat.chat_id
        for verb in ("delete", "forever"):
            method = "DELETE"
            address = f"/api/v1/chats/{chat_id}" + ("?forever=true" if verb == "forever" else "")
            done = await page.request.fetch(server.origin + address, method=method)
            assert done.status in {200, 204}, await done.text()
        answer = await page.request.get(f"{server.origin}/api/v1/chats/{chat_id}")
        assert answer.status == 404

        await page.goto(server.origin)
        await expect(full).to_contain_text("read-only")
        Path(f"/proc/{server.pid}/root{tmp_path}/disk/filler").unlink()
        await expect(full).to_be_empty()  # by itself
        await chat.ask("And now?", TINY)
        await chat.ends()
        kept = Path(f"/proc/{server.pid}/root{tmp_path}/disk") / FILE
        assert kept.stat().st_size == 8 << 20
        assert await server.stop() == 0
        assert "Traceback" not in server.log
    finally:
        await server.close()


async def test_caches_are_removed_first_on_a_full_disk(
    on_full_disk: Callable[[], Server], seed: Path
) -> None:
    (seed / "kv").mkdir(exist_ok=True)
    (seed / "kv" / "snapshot").write_bytes(bytes(10 << 20))
    server = await on_full_disk().start()
    try:
        assert "read-only" not in server.log
    finally:
        await server.close()


async def test_wick_without_any_disk_space_ends_with_one_line(
    on_full_disk: Callable[[], Server], seed: Path, tmp_path: Path
) -> None:
    (seed / FILE).unlink()
    server = on_full_disk()
    with pytest.raises(AssertionError):
        await server.start()
    assert server._process
    assert is_one_line(await server._process.wait(), server.log.strip(), "no room left on the disk")
