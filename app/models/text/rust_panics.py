"""Panics of libraries in Rust, which reach Python beside Exception and would pass its handlers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class RustPanic(Exception):
    """A library met what its authors held to be impossible."""


@contextmanager
def catch_panics() -> Iterator[None]:
    """Raise a panic within as RustPanic, everything else as it is."""
    try:
        yield
    except BaseException as error:
        if type(error).__module__ != "pyo3_runtime":  # its class cannot be imported
            raise
        raise RustPanic(str(error)) from error
