"""Compares Wick's tokenizer with whole vocabularies of real models. Run by hand:

    python -m tests.models.text.compare_vocabularies FOLDER

FOLDER is `models/` of a llama.cpp source tree: `ggml-vocab-NAME.gguf` holds a vocabulary, `.inp`
texts, and `.out` the ids that transformers gives them.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from app.errors import ModelError
from app.models.gguf.reader import read_header
from app.models.text.tokenizer import Tokenizer
from app.models.text.tokenizer_builder import save_tokenizer

BETWEEN = "\n__ggml_vocab_test__\n"


def differences(path: Path) -> list[str]:
    """The texts of which Wick makes other ids. Raises ModelError for a vocabulary it refuses."""
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(read_header(path), Path(folder))
        tokenizer = Tokenizer.load(Path(folder))
    texts = Path(f"{path}.inp").read_bytes().decode().split(BETWEEN)
    lines = Path(f"{path}.out").read_text().split("\n")
    ids = [[int(word) for word in line.split()] for line in lines]
    pairs = zip(texts, ids, strict=False)  # the last text has none
    return [text for text, right in pairs if tokenizer.encode(text) != right]


def main() -> None:
    for path in sorted(Path(sys.argv[1]).glob("ggml-vocab-*.gguf")):
        if not Path(f"{path}.inp").exists():
            continue
        try:
            wrong = differences(path)
        except ModelError as error:
            print(f"{path.stem}: refused: {error}")
        else:
            print(f"{path.stem}: {len(wrong)} texts differ {wrong[:3] if wrong else ''}")


if __name__ == "__main__":
    main()
