# mypy: ignore-errors
"""Runs aider, once, about a file of a folder."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ORIGIN, MODEL, _ = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "hello.py").write_text('print("hello")\n')
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("aider"), "--model", f"openai/{MODEL}"),
            *("--openai-api-base", f"{ORIGIN}/v1", "--openai-api-key", "none"),
            *("--no-git", "--yes-always", "--no-analytics", "--no-check-update"),
            *("--no-show-model-warnings", "--no-detect-urls", "--map-tokens", "0"),
            *("--chat-mode", "ask", "--message", "What does this file do?", "hello.py"),
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
        cwd=folder,
        env=os.environ | {"HOME": folder, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        stdin=subprocess.DEVNULL,
    )
said = done.stdout + done.stderr
assert done.returncode == 0, said
assert "received." in said, said
