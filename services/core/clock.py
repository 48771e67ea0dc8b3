"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """`Clock` by the system's time."""

    def now(self) -> float:
        return time.time()
