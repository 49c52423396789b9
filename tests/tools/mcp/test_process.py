"""Connectors: what a server does wrong ends its connector, and nothing else."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from app.errors import ToolServerFailed
from app.tools.mcp.process import McpProcess
from app.tools.mcp.protocol import (
    Called,
    CallTool,
    GetPrompt,
    Listed,
    ListOffers,
    McpAddress,
    McpEndpoint,
    McpProgram,
    Offers,
    Prompted,
    Read,
    ReadResource,
)
from tests.patience import PATIENCE, until

HERE = Path(__file__).parent
BRIEF = 1.0


def program(name: str, *arguments: str, **environment: str) -> McpProgram:
    kept = {"PATH": os.environ["PATH"]} | environment
    return McpProgram(sys.executable, (str(HERE / name), *arguments), kept, "/")


def bad(how: str, *more: str) -> McpProgram:
    return program("bad_server.py", how, *more)


@contextmanager
def http_server() -> Iterator[McpAddress]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, str(HERE / "sample_server.py"), str(port)]
    with subprocess.Popen(command) as process:
        try:
            yield McpAddress(f"http://127.0.0.1:{port}/mcp", {"X-Fox": "red"})
        finally:
            process.kill()


def is_listening(server: McpAddress) -> Callable[[], bool]:
    port = int(server.url.split(":")[2].split("/")[0])

    def check() -> bool:
        with socket.socket() as found:
            return found.connect_ex(("127.0.0.1", port)) == 0

    return check


@asynccontextmanager
async def connected(endpoint: McpEndpoint) -> AsyncIterator[McpProcess]:
    process = await McpProcess.start("test", endpoint, PATIENCE)
    try:
        yield process
    finally:
        await process.kill()
        await until(lambda: not any(map(_runs, members(process.pid))))


def members(group: int) -> list[psutil.Process]:
    """List the processes of a group."""
    found = []
    for process in psutil.process_iter():
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group:
                found.append(process)
    return found


def _runs(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


async def offers(process: McpProcess) -> Offers:
    listed = await process.request(ListOffers, PATIENCE)
    assert isinstance(listed, Listed)
    return listed.offers


async def call(
    process: McpProcess, tool: str = "run", seconds: float = PATIENCE, **arguments: object
) -> Called:
    called = await process.request(lambda i: CallTool(i, tool, arguments), seconds)
    assert isinstance(called, Called)
    return called


async def check_sample(process: McpProcess) -> None:
    assert (process.greeting.name, process.greeting.version) == ("Sample", "1.2.3")
    found = await offers(process)
    assert found.notes == ()
    add = next(tool for tool in found.tools if tool.name == "add")
    assert (add.title, add.description) == ("Add numbers", "Add two numbers.")
    assert add.parameters["required"] == ["a", "b"]
    assert await call(process, "add", a=2, b=3) == Called(2, "5")
    failed = await call(process, "fail")
    assert failed.is_error
    assert "The well is dry." in failed.text
    assert "picture (image/png)" in (await call(process, "picture")).text
    cut = (await call(process, "long", characters=100_000)).text
    assert len(cut) < 65_000
    assert cut.endswith("[Cut here: 36,000 more characters.]")
    unknown = await call(process, "nothing_like_it")
    assert unknown.is_error
    assert "nothing_like_it" in unknown.text
    assert {resource.uri: resource.title for resource in found.resources} == {
        "notes://foxes": "About foxes",
        "notes://picture": "A fox",
    }
    read = await process.request(lambda i: ReadResource(i, "notes://foxes"), PATIENCE)
    assert isinstance(read, Read)
    assert read.parts[0].text == "# Foxes\nThey jump over dogs."
    read = await process.request(lambda i: ReadResource(i, "notes://picture"), PATIENCE)
    assert isinstance(read, Read)
    assert read.parts[0].data.startswith(b"\x89PNG")
    (prompt,) = found.prompts
    assert [(arg.name, arg.is_required) for arg in prompt.arguments] == [
        ("language", True),
        ("tone", False),
    ]
    filled = await process.request(
        lambda i: GetPrompt(i, "reply", {"language": "French"}), PATIENCE
    )
    assert isinstance(filled, Prompted)
    assert filled.text == "Write a warm reply in French."


async def test_a_program_gives_tools_resources_and_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WICK_KEY_SECRET", "hidden")
    async with connected(program("sample_server.py", FOX="red")) as process:
        await check_sample(process)
        assert (await call(process, "environment", name="FOX")).text == "red"
        assert (await call(process, "environment", name="WICK_KEY_SECRET")).text == "nothing"


async def test_an_address_gives_tools_resources_and_prompts() -> None:
    with http_server() as server:
        await until(is_listening(server))
        async with connected(server) as process:
            await check_sample(process)
            with pytest.raises(ToolServerFailed):
                await call(process, "die")


async def test_a_real_server_tells_the_time() -> None:
    server = McpProgram(
        sys.executable,
        ("-m", "mcp_server_time", "--local-timezone", "Europe/Paris"),
        {"PATH": os.environ["PATH"]},
        "/",
    )
    async with connected(server) as process:
        found = await offers(process)
        assert {tool.name for tool in found.tools} == {"get_current_time", "convert_time"}
        told = await call(process, "get_current_time", timezone="Asia/Tokyo")
        assert "Asia/Tokyo" in told.text


async def test_a_cancelled_call_leaves_the_others_and_a_killed_connector_fails_them() -> None:
    async with connected(program("sample_server.py")) as process:
        waiting = asyncio.create_task(call(process, "wait"))
        assert (await call(process, "add", a=1, b=1)).text == "2"
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        waiting = asyncio.create_task(call(process, "wait"))
        assert (await call(process, "add", a=1, b=2)).text == "3"
        os.kill(process.pid, 9)
        with pytest.raises(ToolServerFailed, match="It crashed"):
            await waiting


async def test_the_end_of_wick_ends_the_server_and_its_children(tmp_path: Path) -> None:
    noted = tmp_path / "pid"
    async with connected(bad("child", str(noted))) as process:
        child = psutil.Process(int(noted.read_text()))
        assert process._process.stdin is not None
        process._process.stdin.close()  # what the death of the parent does
        await until(lambda: not _runs(child))


async def test_a_killed_server_fails_its_call_in_words() -> None:
    async with connected(program("sample_server.py")) as process:
        with pytest.raises(ToolServerFailed, match=r"It ended \(exit code 7\)\.") as caught:
            await call(process, "die")
        assert "I am dying" in caught.value.last_words
        await until(lambda: not process.is_alive)
        with pytest.raises(ToolServerFailed, match="exit code 7"):
            await call(process, "add", a=1, b=1)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("huge", "It sent a message of more than 8 MB"),
        ("flood", "It sent more than 32 MB at once"),
        ("flood-errors", "It sent more than 32 MB at once"),
        ("many-at-once", "It sent a message of more than 8 MB"),
    ],
)
async def test_what_floods_is_ended_with_a_sentence(how: str, words: str) -> None:
    async with connected(bad(how)) as process:
        with pytest.raises(ToolServerFailed, match=words):  # noqa: PT012 - either is its moment
            await call(process, how)
            await offers(process)


async def test_what_hangs_is_given_up_and_can_be_killed() -> None:
    async with connected(bad("hang")) as process:
        with pytest.raises(TimeoutError):
            await call(process, "hang", seconds=BRIEF)


async def test_lies_and_junk_are_skipped_cut_or_refused() -> None:
    async with connected(bad("junk")) as process:
        assert [tool.name for tool in (await offers(process)).tools] == ["run"]
        assert "ran in" in (await call(process, "junk")).text
        assert "ran in" in (await call(process, "wrong-id")).text
        with pytest.raises(ToolServerFailed, match="It answered something that is not MCP"):
            await call(process, "not-mcp")
        await call(process, "lies")
        check_lies(await offers(process))
        for how, count in [("many", 200), ("empty-pages", 0)]:
            await call(process, how)
            found = await offers(process)
            note = f"It offers too many tools: only the first {count} are used."
            assert (len(found.tools), found.notes) == (count, (note,))
        await call(process, "nonsense")
        with pytest.raises(ToolServerFailed, match="It answered something that is not MCP"):
            await offers(process)


def check_lies(found: Offers) -> None:
    names = [tool.name for tool in found.tools]
    marked = "<b>bold</b> & \x1b[31mred"
    assert names == ["recursive", "elsewhere", "nowhere", "look", "twice", marked]
    by_name = {tool.name: tool for tool in found.tools}
    assert by_name["elsewhere"].parameters["properties"] == {"a": {}}
    assert by_name["look"].parameters["properties"] == {"a": {"type": "string"}}
    assert by_name[marked].title == "<script>x</script> # head"
    assert len(found.notes) == 5
    assert "The tool “twice” is offered twice; the first one is used." in found.notes


@pytest.mark.parametrize(
    ("server", "words"),
    [
        (bad("dead"), r"It ended \(exit code 1\)\."),
        (McpProgram("no-such-fox", (), {}, "/"), "The program “no-such-fox” was not found"),
        (McpAddress("http://127.0.0.1:9/mcp", {}), "It can't be reached at this address"),
    ],
)
async def test_what_cannot_be_reached_says_why(server: McpEndpoint, words: str) -> None:
    with pytest.raises(ToolServerFailed, match=words) as caught:
        await McpProcess.start("test", server, PATIENCE)
    is_dead = isinstance(server, McpProgram) and "dead" in server.arguments
    assert ("no module named fox" in caught.value.last_words) == is_dead


async def test_a_server_that_never_answers_is_given_up() -> None:
    with pytest.raises(ToolServerFailed, match="It did not answer within 1 seconds"):
        await McpProcess.start("test", bad("silent"), BRIEF)
