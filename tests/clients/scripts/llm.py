# mypy: ignore-errors
"""Runs `llm`, whose models are listed in a file."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ORIGIN, MODEL, _ = sys.argv[1:]
LINES = (
    f"- model_id: wick\n  model_name: {MODEL}\n  api_base: {ORIGIN}/v1\n  supports_tools: true\n"
)
with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "extra-openai-models.yaml").write_text(LINES)
    command = [sys.executable, "-P", "-m", "llm", "-m", "wick", "--no-log", "-o", "max_tokens", "8"]
    done = subprocess.run(
        [*command, "-o", "temperature", "0", "--key", "none", "Say hello."],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"LLM_USER_PATH": folder},
        stdin=subprocess.DEVNULL,
    )
assert done.stdout.strip()
