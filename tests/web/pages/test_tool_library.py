"""Prompts and resources of tool servers in the composer."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.application import PAGE, BrowserClient, context_of, run_app, sign_in, text_of
from tests.patience import until

SERVERS = Path(__file__).parents[2] / "tools/mcp"
SAMPLE = shlex.join([sys.executable, str(SERVERS / "sample_server.py")])


async def test_prompts_and_resources_come_into_the_message(tmp_path: Path) -> None:
    async with run_app(tmp_path, accounts="on", measure_engines=False) as app:
        owner, member = await sign_in(app, "anna"), await sign_in(app, "berta")
        servers = context_of(app).mcp_servers
        form = {"name": "sample", "target": SAMPLE, "access": "owners"}
        assert (await owner.ask("POST", "/tools", form=form)).status_code == 303
        (server,) = await servers.list_all()
        await until(lambda: not servers.is_testing(server.id))
        here = f"/tool-library/{server.id}"
        menu = await get(owner, "/prompts/menu?temporary=1")
        assert 'data-name="sample:reply"' in menu
        assert f'hx-post="{here}/resource?uri=notes%3A//foxes&amp;temporary=1"' in menu
        assert "sample" not in await get(member, "/prompts/menu")
        blanks = await get(owner, f"{here}/prompt?name=reply")
        assert "tone (optional)" in blanks
        filled = await owner.ask(
            "POST", f"{here}/prompt?name=reply", form={"blank0": "<French>"}, headers=PAGE
        )
        assert "Write a warm reply in &lt;French&gt;." in await text_of(filled)
        chip = await post(owner, f"{here}/resource?uri=notes://foxes")
        assert "About foxes.md" in chip
        assert 'data-kind="text" data-status="ready"' in chip
        kept = await context_of(app).attachments.unsent(1, range(1, 99))
        assert [file.name for file in kept] == ["About foxes.md"]
        chip = await post(owner, f"{here}/resource?uri=notes://foxes&temporary=1")
        assert "About foxes.md" in chip
        assert await context_of(app).attachments.unsent(1, range(1, 99)) == kept
        for path, words in (
            ("resource?uri=notes://none", "There is no such resource."),
            ("resource?uri=notes://picture", "damaged"),
        ):
            answer = await owner.ask("POST", f"{here}/{path}", headers=PAGE)
            assert answer.status_code >= 400
            assert words in await text_of(answer)
        for path in ("prompt?name=reply", "resource?uri=notes://foxes"):
            answer = await member.ask("POST", f"{here}/{path}", headers=PAGE)
            assert answer.status_code == 404


async def get(browser: BrowserClient, path: str) -> str:
    return await text_of(await browser.ask("GET", path, headers=PAGE))


async def post(browser: BrowserClient, path: str) -> str:
    return await text_of(await browser.ask("POST", path, headers=PAGE))
