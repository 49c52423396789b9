"""A program that behaves like piper: it reads lines, and writes a WAV to standard output."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

_SOURCE = """#!{python}
import argparse, io, os, sys, time, wave
parser = argparse.ArgumentParser()
parser.add_argument("-m", "--model", required=True)
parser.add_argument("-f", "--output_file")
parser.add_argument("--length_scale", type=float, default=1.0)
given = parser.parse_args()
assert given.output_file == "-" and os.path.isfile(given.model)
lines = [line.strip() for line in sys.stdin if line.strip()]
text = " ".join(lines)
with open(os.path.join(os.path.dirname(given.model), "log"), "a") as log:
    print(os.getpid(), len(lines), given.length_scale, text, "SECRET" in os.environ, file=log)
if text == "crash":
    sys.exit("out of breath")
if text == "hang":
    time.sleep(600)
if text == "flood":
    while True:
        os.write(1, b"RIFF" + bytes(1 << 20))
if text == "words":
    print("no sound")
    sys.exit()
made = io.BytesIO()
with wave.open(made, "wb") as sound:
    sound.setparams((1, 2, 22050, 0, "NONE", ""))
    sound.writeframes(bytes(2 * int(100 * len(text) * given.length_scale)))
sys.stdout.buffer.write(made.getvalue())
"""


def install_piper(folder: Path) -> tuple[Path, Path]:
    """Write the program and a voice; their paths. Beside the voice, `log` has all calls."""
    program, voice = folder / "piper", folder / "en_US-stub-medium.onnx"
    program.write_text(_SOURCE.replace("{python}", sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    voice.write_bytes(b"")
    return program, voice
