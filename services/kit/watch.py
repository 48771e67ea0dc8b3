"""Noticing that files have changed, by looking: works on every file system and through renames and bind mounts."""

from __future__ import annotations

import os
from collections.abc import Sequence

_Signature = tuple[tuple[int, int, int, int] | None, ...]


class Watched:
    """A set of files whose replacement or change matters. The state at construction counts as seen."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = tuple(paths)
        self._seen = self._look()

    def changed(self) -> bool:
        """Whether any file is another one than was seen last, which it then is."""
        now = self._look()
        changed, self._seen = now != self._seen, now
        return changed

    def differs(self) -> bool:
        """As `changed`, but what is there now does not count as seen."""
        return self._look() != self._seen

    def _look(self) -> _Signature:
        return tuple(map(_signature, self._paths))


def _signature(path: str) -> tuple[int, int, int, int] | None:
    try:
        s = os.stat(path)
    except OSError:
        return None
    return s.st_dev, s.st_ino, s.st_mtime_ns, s.st_size
