"""When to stop early: a signal, or the end of the time that was granted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from geoforecast.errors import InterruptedRunError


@dataclass(frozen=True)
class Stop:
    """Asked at every step of long work.

    Attributes:
        interrupted: True once a signal has come.
        deadline: time.monotonic() after which to stop, or None.
        saved: what a later run can go on from, where the work itself says nothing.
    """

    interrupted: Callable[[], bool]
    deadline: float | None
    saved: str = "nothing is trained yet"

    def due(self) -> bool:
        """Whether it is time to stop."""
        late = self.deadline is not None and time.monotonic() > self.deadline
        return self.interrupted() or late

    def check(self, saved: str = "") -> None:
        """Go on, or leave.

        Args:
            saved: what a later run can go on from; default the attribute.
        Raises:
            InterruptedRunError: it is time to stop.
        """
        if self.due():
            self.leave(saved)

    def leave(self, saved: str = "") -> NoReturn:
        """Stop now.

        Args:
            saved: see check.
        Raises:
            InterruptedRunError: always.
        """
        raise InterruptedRunError(
            f"Stopped early; {saved or self.saved}.",
            remedy="Run the same command again to go on.",
        )
