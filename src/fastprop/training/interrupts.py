"""Ctrl-C as a wish: the first one is noted, and answered between two steps; a second one raises."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Interrupts"]


class Interrupts:
    """Within it, Ctrl-C is noted: `are_wished`.

    Not where the program has a handler of its own, nor in other threads than the main one, which get none.
    """

    def __init__(self) -> None:
        self._wished = self.insisted = False
        self._before: Any = None

    def __enter__(self) -> Interrupts:
        ours = threading.current_thread() is threading.main_thread()
        if ours and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def are_wished(self) -> bool:
        """Say whether there was one."""
        return self._wished

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._wished:
            self.insisted = True
            raise KeyboardInterrupt
        self._wished = True
