"""Ctrl-C and SIGTERM, held back while a step is under way."""

import signal
import threading
from types import FrameType
from typing import Any


class HeldSignals:
    """Holds back Ctrl-C (SIGINT) and SIGTERM until the end of the block.

    So a checkpoint never shows half a step. After the first signal the old handlers are back: a
    second one acts at once. Outside the main thread nothing is held back.
    """

    def __enter__(self) -> "HeldSignals":
        self.caught: int | None = None
        self.old: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self.old[number] = signal.signal(number, self._catch)
        return self

    def _catch(self, number: int, frame: FrameType | None) -> None:
        self.caught = number
        self._restore()

    def _restore(self) -> None:
        while self.old:
            signal.signal(*self.old.popitem())

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._restore()
        if self.caught and error is None:
            # KeyboardInterrupt for Ctrl-C, the end of the process for SIGTERM
            signal.raise_signal(self.caught)
