"""Builder of models: fills the folder of a model from its GGUF file.

It puts the original files there, the tokenizer, the metadata, and the copy for ctransformers where
that is the engine. Tokenizers and templates take long to import, so the store imports it late.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Final, Literal, Protocol

from app.errors import ModelFileError
from app.models.adapted import Progress, adapted_size, ensure_adapted, space_for_copy
from app.models.disk import ensure_space
from app.models.engines import CTRANSFORMERS, LLAMA_CPP, Engine, NativeUse, available_engines
from app.models.gguf.engine_support import FileSupport, check_support
from app.models.gguf.header import Header
from app.models.gguf.reader import read_model_file
from app.models.gguf.weight_layout import weight_layout
from app.models.model import Model, Projector, Turn
from app.models.model_files import save_model
from app.models.parameters import Sampling
from app.models.projectors import FILE as PROJECTOR_FILE
from app.models.projectors import describe, read_projector
from app.models.text.chat_template import ChatTemplate, fallback_template
from app.models.text.tokenizer import Tokenizer, TokenizerSource
from app.models.text.tokenizer_builder import save_tokenizer

Keep = Literal["copy", "share", "link"]
"""copy: the store has a file of its own; share: the same, but where the disk allows it without a
copy (the file was brought for the store); link: it stays another program's, and takes no room."""
COPY_BYTES: Final = 4 << 20
MIXTURES: Final = {
    10: "Q2_K",
    11: "Q3_K_S",
    12: "Q3_K_M",
    13: "Q3_K_L",
    14: "Q4_K_S",
    15: "Q4_K_M",
    16: "Q5_K_S",
    17: "Q5_K_M",
    21: "Q2_K_S",
    22: "IQ3_XS",
    26: "IQ3_S",
    27: "IQ3_M",
    28: "IQ2_S",
    29: "IQ2_M",
    38: "MXFP4",
}
"""Names of mixtures of storage types, by the number that a file gives its own."""


class ModelBuilder:
    """Builder of one model from `source`, a GGUF file or any part of a split one.

    keep: how the store comes to have its files; `progress` hears of bytes done and to do;
    projector: the file with which the model sees or hears. Raises ModelFileError or
    ModelUnsupported for a file that will not do.
    """

    def __init__(
        self,
        source: Path,
        keep: Keep,
        progress: Progress | None = None,
        projector: Path | None = None,
    ) -> None:
        self._file = read_model_file(source)
        self._keep = keep
        self._progress = progress or (lambda done, total: None)
        self._support = check_support(self._file.header, available_engines())
        can_adapt = CTRANSFORMERS in self._support.engines
        self._adapted_size = adapted_size(self._file) if can_adapt else 0
        runs = LLAMA_CPP in self._support.engines and self._support.kind == "text"
        self._projector = projector if runs else None
        if self._projector is not None:
            read_projector(self._projector)

    @property
    def needed_bytes(self) -> int:
        """Bytes of the disk that the model will take."""
        copied = self._file.header.size if self._keep == "copy" else 0
        if self._projector is not None and self._keep == "copy":
            copied += self._projector.stat().st_size
        return copied + space_for_copy(self._adapted_size)

    def build(
        self,
        folder: Path,
        name: str,
        *,
        digest: str | None = None,
        title: str | None = None,
        license_name: str | None = None,
        sampling: Sampling | None = None,
        linked_from: str = "",
    ) -> Model:
        """Fill `folder` with the files of the model.

        digest: SHA-256 of the file if it is known already; title, license_name and sampling: where
        they are known better than by the file. Raises ModelFileError, ModelUnsupported,
        TemplateError or DiskFull.
        """
        digest, files = self._place_files(folder, digest)
        support, size = self._support, self._adapted_size
        native = _native_tokenizer(support, available_engines())
        tokenizer = save_tokenizer(self._file.header, folder, native=native)
        if tokenizer == LLAMA_CPP:  # the other engine has no tokenizer of its own
            support, size = replace(support, engines=(LLAMA_CPP,)), 0
        found = _read_metadata(self._file.header, support, folder, tokenizer)
        model = replace(
            found,
            name=name,
            digest=digest,
            title=title or found.title or name,
            license=license_name or found.license,
            sampling=sampling or Sampling(),
            files=files,
            adapted_size=size,
            linked_from=linked_from if self._keep == "link" else "",
            projector=self._place_projector(folder),
        )
        if model.engine == CTRANSFORMERS:
            self._adapt(model)
        save_model(model, folder)
        self._progress(model.size, model.size)
        return model

    def _place_files(self, folder: Path, digest: str | None) -> tuple[str, tuple[str, ...]]:
        """Put the original files into `folder`; the digest of them all, and their names there."""
        total = self._file.header.size
        is_known = digest is not None and len(self._file.parts) == 1
        check = None if is_known else hashlib.sha256()

        def half(done: int) -> None:
            self._progress(done // 2, total)

        files = _place_originals(self._file.paths, folder, self._keep, check, half)
        return check.hexdigest() if check is not None else str(digest), files

    def _place_projector(self, folder: Path) -> Projector | None:
        """Put the projector into `folder`, where there is one."""
        source, target = self._projector, folder / PROJECTOR_FILE
        if source is None:
            return None
        if not _linked(source, target, self._keep):
            shutil.copyfile(source, target)
        return describe(target)

    def _adapt(self, model: Model) -> None:
        middle = model.size // 2

        def step(done: int, total: int) -> None:
            self._progress(middle + done * middle // total, model.size)

        ensure_adapted(model, step)


def _read_metadata(
    header: Header, support: FileSupport, folder: Path, tokenizer: TokenizerSource
) -> Model:
    """Describe a sound file, and try its template with the vocabulary in `folder`."""
    title = _one_line(header.text("general.name"))
    return Model(
        name="",
        folder=folder,
        title=title,
        architecture=_one_line(header.text("general.architecture")),
        parameters=sum(tensor.elements for tensor in header.tensors),
        quantisation=quantisation(header),
        context_length=support.context_length,
        size=header.size,
        digest="",
        kv_bytes_per_token=support.kv.bytes_per_token,
        chat_template=_template(header, support, folder, title),
        license=_one_line(header.text("general.license")) or None,
        engines=support.engines,
        kind=support.kind,
        tokenizer=tokenizer,
        kv=support.kv,
        layout=weight_layout(header),
    )


def quantisation(header: Header) -> str:
    """The storage type that most weights have, such as “Q4_K”."""
    kind = header.metadata.get("general.file_type")
    if isinstance(kind, int) and kind in MIXTURES:
        return MIXTURES[kind]
    blocks: dict[str, int] = {}
    others: dict[str, int] = {}
    for tensor in header.tensors:
        weights = blocks if tensor.name.startswith("blk.") else others
        if len(tensor.shape) > 1:
            weights[tensor.type.name] = weights.get(tensor.type.name, 0) + tensor.elements
    weights = blocks or others
    return max(weights, key=lambda kind: weights[kind], default="")


def _native_tokenizer(support: FileSupport, available: Sequence[Engine]) -> NativeUse:
    """Extent to which llama.cpp's tokenizer may stand in for Wick's own."""
    if LLAMA_CPP not in support.engines or LLAMA_CPP not in available:
        return "never"
    return "if needed" if CTRANSFORMERS in support.engines else "if quicker"


class _UnusedTokenizer:
    """Stands where a template is only rendered, and not tokenised."""

    def encode(self, text: str) -> list[int]:
        raise ModelFileError("This text can be tokenised only by the engine.")

    def token_bytes(self, index: int) -> bytes:
        raise ModelFileError("This token can be read only by the engine.")


def _template(header: Header, support: FileSupport, folder: Path, title: str) -> str:
    """The chat template of the file, or the likeliest one; empty for what is no chat model."""
    if support.kind != "text":
        return ""
    tokenizer = Tokenizer.load(folder, _UnusedTokenizer())
    called = f"{title} {header.path.name}"
    template = header.text("tokenizer.chat_template") or fallback_template(tokenizer, called)
    turns = [Turn("user", "Hello"), Turn("assistant", "Hello!"), Turn("user", "How are you?")]
    ChatTemplate(template, tokenizer).text(turns)
    return template


def _one_line(text: str | None) -> str:
    """Strip a text of characters that a terminal would take for a command."""
    shown = "".join(c for c in text or "" if c.isprintable() or c.isspace())
    return " ".join(shown.split())[:200]


class _Digest(Protocol):
    """A checksum that is being computed."""

    def update(self, data: bytes, /) -> None: ...


def _place_originals(
    sources: Sequence[Path],
    folder: Path,
    keep: Keep,
    digest: _Digest | None,
    progress: Callable[[int], None],
) -> tuple[str, ...]:
    """Put the parts of a model into `folder`; the names they have there, the first one first.

    digest: is given all bytes, in one go with the copy; progress: hears how many were read.
    Raises OSError or DiskFull.
    """
    names = _original_names(len(sources))
    done = 0
    for source, name in zip(sources, names, strict=True):
        with contextlib.ExitStack() as stack:
            copy: BinaryIO | None = None
            if not _linked(source, folder / name, keep):
                ensure_space(folder, source.stat().st_size)
                copy = stack.enter_context((folder / name).open("wb"))
            elif digest is None:
                continue
            reader = stack.enter_context(source.open("rb"))
            while chunk := reader.read(COPY_BYTES):
                if copy is not None:
                    copy.write(chunk)
                if digest is not None:
                    digest.update(chunk)
                done += len(chunk)
                progress(done)
    return names


def _original_names(count: int) -> tuple[str, ...]:
    """Name the parts of a split model as llama.cpp expects them."""
    if count == 1:
        return ("original.gguf",)
    return tuple(f"original-{number:05d}-of-{count:05d}.gguf" for number in range(1, count + 1))


def _linked(source: Path, target: Path, keep: Keep) -> bool:
    """Link `target` to the same file, without a copy of its bytes; False where that is impossible.

    A hard link also stays when the other program deletes its own; not every disk has them, and
    nobody may link to another user's files.
    """
    if keep == "copy":
        return False
    try:
        target.hardlink_to(source.resolve())
        return True
    except OSError:
        if keep == "share":
            return False
    target.symlink_to(source.resolve())
    return True
