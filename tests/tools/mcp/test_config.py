"""Settings of MCP servers, as owners may give them wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.db.mcp_servers import McpServer
from app.errors import InvalidToolServer, ToolServerFailed
from app.tools.mcp.config import McpServerValues, check_values, endpoint_of, parse_secrets
from app.tools.mcp.protocol import McpAddress, McpProgram


def test_a_command_is_taken_apart_and_an_address_is_not() -> None:
    command = check_values(McpServerValues("Notes", "npx -y 'my server' /home", {"KEY": "x y"}))
    assert (command.name, command.command) == ("notes", "npx")
    assert command.arguments == ("-y", "my server", "/home")
    assert command.access == "owners"
    address = check_values(McpServerValues("web", "https://x.example/mcp", {"Authorization": "B"}))
    assert (address.command, address.url) == ("", "https://x.example/mcp")


@pytest.mark.parametrize(
    ("values", "field", "words"),
    [
        (McpServerValues("two words", "x"), "name", "small letters"),
        (McpServerValues("a__b", "x"), "name", "small letters"),
        (McpServerValues("x" * 25, "x"), "name", "at most 24"),
        (McpServerValues("a", "  "), "target", "Enter a command"),
        (McpServerValues("a", "echo 'x"), "target", "quotation mark"),
        (McpServerValues("a", "http://"), "target", "not an address"),
        (McpServerValues("a", "http://me:secret@x/"), "target", "into a header"),
        (McpServerValues("a", "x", {"A B": "x"}), "secrets", "not the name of a variable"),
        (McpServerValues("a", "http://x", {"A:": "x"}), "secrets", "not the name of a header"),
        (McpServerValues("a", "http://x", {"Host": "x"}), "secrets", "set by Wick"),
        (McpServerValues("a", "http://x", {"A": "x\r\nB: y"}), "secrets", "not one line"),
        (McpServerValues("a", "x", access="all"), "access", "Choose who"),
    ],
)
def test_what_is_wrong_is_said_of_its_field(
    values: McpServerValues, field: str, words: str
) -> None:
    with pytest.raises(InvalidToolServer) as caught:
        check_values(values)
    assert list(caught.value.problems) == [field]
    assert words in caught.value.problems[field]
    assert "secret" not in str(caught.value)


def test_secrets_are_written_one_a_line() -> None:
    assert parse_secrets("A=1=2\n\nAuthorization: Bearer x\n") == {
        "A": "1=2",
        "Authorization": "Bearer x",
    }
    with pytest.raises(InvalidToolServer):
        parse_secrets("nothing")


def test_secrets_can_stay_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WICK_KEY_FOX", "red")
    monkeypatch.setenv("WICK_KEY_OTHER", "hidden")
    server = McpServer(
        1, "a", "~/x", (), "", {"KEY": "$WICK_KEY_FOX"}, "owners", True, "", "", "", None
    )
    found = endpoint_of(server, Path("/x"))
    assert isinstance(found, McpProgram)
    assert found.command == str(Path("~/x").expanduser())
    assert found.environment["KEY"] == "red"
    assert "hidden" not in found.environment.values()
    server = McpServer(
        1, "a", "", (), "http://x", {"K": "$WICK_KEY_FOX"}, "owners", True, "", "", "", None
    )
    assert endpoint_of(server, Path("/x")) == McpAddress("http://x", {"K": "red"})
    monkeypatch.delenv("WICK_KEY_FOX")
    with pytest.raises(ToolServerFailed, match="WICK_KEY_FOX is not set"):
        endpoint_of(server, Path("/x"))
