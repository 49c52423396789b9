"""Lets a long computation of the library give way, or end, between two of its operations.

A picture's tile is some hundred operations and takes seconds. With a callback, the library computes
one operation after another and asks behind each whether to go on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_void_p, cast

from app.inference.runner.engines.engine import GoOn, StepInterrupted
from app.inference.runner.engines.llama_library import EvalCallback


class OperationGate:
    """Callback for one native context, which must not outlive it."""

    def __init__(self) -> None:
        self._callback = EvalCallback(self._on_operation)
        self._go_on: GoOn | None = None
        self._ended = False
        self._error: BaseException | None = None

    @property
    def address(self) -> int | None:
        """Address of the callback, as `cb_eval` wants it."""
        return cast(self._callback, c_void_p).value

    @contextmanager
    def asking(self, go_on: GoOn | None) -> Iterator[None]:
        """Ask `go_on` while something is computed within. Raises StepInterrupted when it said no:
        then what the library gives is not to be used."""
        self._go_on, self._ended, self._error = go_on, False, None
        try:
            yield
        finally:
            self._go_on = None
        if self._error is not None:
            raise self._error
        if self._ended:
            raise StepInterrupted("the computation was interrupted")

    def _on_operation(self, _tensor: int | None, is_before: bool, _user: int | None) -> bool:  # noqa: FBT001
        """Answer the library: before an operation, that it is to ask again behind it."""
        if is_before or self._go_on is None:
            return True
        try:
            self._ended = not self._go_on()
        except BaseException as error:  # must not be lost in native code
            self._error, self._ended = error, True
        return not self._ended
