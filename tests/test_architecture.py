"""The arrows between the rooms go one way, and the page about them tells the truth."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
APP = ROOT / "app"
TESTS = ROOT / "tests"

# Which rooms each room may import. Single files of `app/` are rooms of their own.
ALLOWED = {
    "errors": set[str](),
    "net": set[str](),
    "markup": set[str](),
    "temp_folders": set[str](),
    "logs": {"errors"},
    "background": {"errors"},
    "age": {"background", "errors"},
    "audit": {"logs"},
    "setting_values": {"errors", "net"},
    "login_settings": {"errors", "net", "setting_values"},
    "config": {"errors", "login_settings", "net", "setting_values"},
    "disk_reserve": {"errors"},
    "datadir": {"errors", "disk_reserve"},
    "local_server": {"errors", "config", "datadir"},
    "backup": {"age", "background", "errors", "config", "datadir", "db", "disk_reserve", "logs"},
    "doctor": {
        *("accounts", "backup", "config", "datadir", "db", "disk_reserve", "errors", "inference"),
        *("local_server", "media", "models"),
    },
    "service_unit": {"errors"},
    "models": {"errors", "config", "logs", "net"},
    "db": {"errors", "config"},
    "inference": {"errors", "config", "logs", "models", "temp_folders"},
    "media": {"errors", "config", "inference", "logs", "models"},
    "documents": {"errors", "config"},
    "metrics": {"config", "inference", "logs", "models", "__init__"},
    "bench": {"errors", "config", "inference", "models"},
    "tools": {
        "audit",
        "background",
        "errors",
        "config",
        "db",
        "documents",
        "models",
        "net",
        "temp_folders",
    },
    "accounts": {"__init__", "audit", "errors", "config", "db", "login_settings", "net"},
    "conversations": {
        *("age", "audit", "errors", "config", "background", "disk_reserve", "documents"),
        *("inference", "db", "logs", "media", "models", "tools"),
    },
    "services": {
        *(
            "backup",
            "config",
            "disk_reserve",
            "documents",
            "conversations",
            "inference",
            "db",
            "media",
        ),
        *("metrics", "models", "tools"),
    },
    "web": {
        "disk_reserve",
        *("age", "audit", "errors", "config", "accounts", "conversations", "inference", "db"),
        *("documents", "logs", "markup", "media", "metrics", "models", "net", "services", "tools"),
    },
    "api": {
        *(
            "age",
            "errors",
            "web",
            "conversations",
            "inference",
            "db",
            "documents",
            "media",
            "models",
        ),
        "tools",
    },
    "server": {"audit", "errors", "config", "accounts", "api", "web", "db", "metrics"},
    "cli": {
        *(
            "age",
            "audit",
            "errors",
            "config",
            "datadir",
            "local_server",
            "net",
            "server",
            "accounts",
        ),
        *("backup", "doctor", "logs", "service_unit"),
        *("conversations", "inference", "db", "media", "models", "bench", "terminal"),
        *("temp_folders", "tools"),
    },
    "terminal": {
        *("age", "errors", "config", "local_server", "conversations", "markup", "models", "net"),
        *("documents", "logs", "temp_folders"),
    },
    "__main__": {"cli"},
}

# Modules that write or read HTML because that is what they are for, and the tokens of models.
MARKUP_IS_THE_MATTER = (
    *("markup/", "web/render/markdown.py", "web/render/code_blocks.py", "web/addresses.py"),
    *("conversations/titles.py", "conversations/imports/third_party.py"),
    *("models/text/", "terminal/markdown.py"),
)

# What the child process may import, so that it starts fast and knows nothing of people.
RUNNER_MAY_IMPORT = (
    *("app.errors", "app.inference.protocol", "app.inference.context_window"),
    *("app.inference.kv_files", "app.inference.runner", "app.logs.child"),
    *("app.models.adapted", "app.models.engines", "app.models.model"),
    "app.models.devices",
    "app.models.parameters",
    *("app.models.gguf", "app.models.text"),
)

# What media children may import: they get bytes from outside, and know nothing of people.
MEDIA_CHILD_MAY_IMPORT = (
    *("app.errors", "app.media.permits", "app.media.protocol", "app.media.child"),
    *("app.inference.runner.hardening", "app.inference.runner.threads", "app.logs.child"),
)

# What MCP connectors may import: they get messages from outside, and know nothing of users.
MCP_CHILD_MAY_IMPORT = ("app.tools.mcp.protocol", "app.tools.mcp.child")

# Tests that belong to no module of `app/`: of behaviours across modules, and of the repository.
ACROSS_MODULES = {
    *("clients", "e2e", "fuzz", "page_bench", "prove", "recorded", "security"),
    *("upstream", "wire"),
}
OF_THE_REPOSITORY = {
    *("test_architecture.py", "test_compose.py", "test_documents.py", "test_glossary.py"),
    *("test_constraints.py", "test_containers.py", "test_wheel.py"),
}


def imports_of(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(path: Path) -> str:
    return path.relative_to(APP).parts[0].removesuffix(".py")


def strings_of(path: Path) -> list[str]:
    """The string literals of a module without docstrings and without the addresses of routes."""
    tree, left_out = ast.parse(path.read_text()), set[ast.AST]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            left_out.add(node.value)
        for route in getattr(node, "decorator_list", []):
            left_out |= set(ast.walk(route))
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in left_out
    ]


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for path in APP.rglob("*.py"):
        room = room_of(path)
        if room == "__init__":
            continue
        for name in imports_of(path):
            parts = name.split(".")
            target = parts[1] if parts[0] == "app" and len(parts) > 1 else room
            if target not in {room, "__version__"} | ALLOWED[room]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_the_runner_imports_only_the_protocol_and_what_models_are() -> None:
    wrong = []
    for path in (APP / "inference/runner").rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("app.") and not name.startswith(RUNNER_MAY_IMPORT):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert [w for w in wrong if not w.endswith(("app.models", "app.inference"))] == []


def test_children_that_read_files_load_nothing_of_the_server() -> None:
    code = "import sys, app.media.child.picture; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    rooms = {name for name in loaded if name.startswith("app.")}
    assert rooms == {"app.media", "app.media.child", "app.media.child.picture"}


def test_a_media_child_imports_only_its_protocol() -> None:
    wrong = []
    for path in (APP / "media/child").rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("app.") and not name.startswith(MEDIA_CHILD_MAY_IMPORT):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_a_child_that_reads_documents_imports_only_what_pages_are() -> None:
    allowed = (
        "app.documents.child",
        *(f"app.documents.{name}" for name in ("kinds", "pages", "protocol")),
    )
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in (APP / "documents/child").rglob("*.py")
        for name in imports_of(path)
        if name.startswith("app.") and not name.startswith(allowed)
    ]
    assert wrong == []


def test_an_mcp_connector_imports_only_its_protocol() -> None:
    wrong = []
    for path in (APP / "tools/mcp/child").rglob("*.py"):
        for name in imports_of(path):
            if name.startswith("app.") and not name.startswith(MCP_CHILD_MAY_IMPORT):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_inference_and_db_know_nothing_of_the_web() -> None:
    for room in ("inference", "db", "models", "media", "documents"):
        for path in (APP / room).rglob("*.py"):
            assert not any(n.startswith(("quart", "hypercorn")) for n in imports_of(path)), path


def test_the_runner_loads_nothing_of_the_web_or_the_database() -> None:
    code = "import sys, app.inference.runner.main, app.inference.runner.setup; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    wrong = {"quart", "hypercorn", "aiosqlite", "ctransformers", "huggingface_hub", "app.config"}
    assert wrong.isdisjoint(loaded)
    assert not any(name.startswith(("app.web", "app.db", "app.conversations")) for name in loaded)


def test_the_first_page_waits_for_nothing_that_it_does_not_need() -> None:
    code = "import sys, app.cli.serve, app.server; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    later = {"httpx", "huggingface_hub", "llguidance", "numpy", "rich", "tokenizers"}
    later |= {
        "argon2",
        "authlib",
        "joserfc",
        "linkify_it",
        "markdown_it",
        "math_core",
        "nh3",
        "opentelemetry",
        "pygments",
    }
    assert sorted(later.intersection(loaded)) == []


def test_help_needs_no_command() -> None:
    code = "import sys, app.cli; app.cli.build_parser(()); print(*sys.modules)"
    command = [sys.executable, "-c", code]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("app.cli.")] == []


def test_sql_lives_in_db() -> None:
    statement = re.compile(
        r"\b(SELECT|INSERT INTO|UPDATE|DELETE FROM)\b .*\b(FROM|SET|WHERE|VALUES)\b"
    )
    for path in APP.rglob("*.py"):
        if room_of(path) != "db":
            assert not statement.search(path.read_text()), path


def test_markup_lives_in_templates() -> None:
    """Strings of `app/` hold no HTML tag and no attribute of htmx, but where HTML is the matter."""
    markup = re.compile(r"(?<!\?P)</?[a-z][a-z0-9-]*[ />]|\bhx-[a-z(]")
    found = {
        f"{path.relative_to(APP)}: {text}"
        for path in sorted(APP.rglob("*.py"))
        if not str(path.relative_to(APP)).startswith(MARKUP_IS_THE_MATTER)
        for text in strings_of(path)
        if markup.search(text)
    }
    assert found == set()


def test_only_config_reads_the_environment() -> None:
    for path in APP.rglob("*.py"):
        if path.name != "config.py":
            assert not re.search(r"os\.(environ|getenv)", path.read_text()), path


def test_the_pages_about_the_code_name_only_what_exists() -> None:
    pages = [ROOT / "docs/architecture.md", ROOT / "CONTRIBUTING.md", ROOT / "tests/README.md"]
    pages += [*APP.rglob("README.md"), *(ROOT / "docs").glob("*.md")]
    named = set[str]()
    for page in pages:
        text = page.read_text()
        named |= set(re.findall(r"`((?:app|templates|static|migrations|tests)/[\w./-]*\w)`", text))
    assert len(named) > 100
    assert sorted(n for n in named if not (ROOT / n).exists()) == []


def modules_beside(test_file: Path) -> set[str]:
    """The modules of `app/` that the folder of this test file mirrors, and its room as a whole."""
    room = APP / test_file.parent.relative_to(TESTS)
    return {path.stem for path in room.glob("*.py")} | {room.name}


def test_every_test_file_is_named_after_the_module_it_tests() -> None:
    """Check the names: `app/x/y.py` has `tests/x/test_y.py`, or `test_y_topic.py` for one topic."""
    wrong = []
    for path in TESTS.rglob("test_*.py"):
        inside = path.relative_to(TESTS)
        if inside.parts[0] in ACROSS_MODULES | OF_THE_REPOSITORY:
            continue
        topic = path.stem.removeprefix("test_") + "_"
        if not any(topic.startswith(f"{module}_") for module in modules_beside(path)):
            wrong.append(str(inside))
    assert sorted(wrong) == []


ASSERTING = re.compile(r"raises|warns|expect|(assert|check|expect)_\w+")
Test = ast.FunctionDef | ast.AsyncFunctionDef


def asserts_something(test: Test) -> bool:
    called = [node.func for node in ast.walk(test) if isinstance(node, ast.Call)]
    names = [f.attr if isinstance(f, ast.Attribute) else getattr(f, "id", "") for f in called]
    has_assert = any(isinstance(node, ast.Assert) for node in ast.walk(test))
    return has_assert or any(ASSERTING.fullmatch(name) for name in names)


def test_every_test_says_what_it_asserts() -> None:
    """By itself, or by calling what has `assert_`, `check_` or `expect_` in front of its name."""
    silent = []
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, Test) and node.name.startswith("test_"):
                silent += [] if asserts_something(node) else [f"{path.name}: {node.name}"]
    assert sorted(silent) == []


def test_every_room_of_several_modules_says_what_is_in_it() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rooms = {path.name for path in APP.iterdir() if (path / "__init__.py").exists()}
    assert sorted(room for room in rooms if f"app/{room}" not in text) == []
