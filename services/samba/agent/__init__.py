"""A script that runs on the host of a file server, under the distribution's Python, once for a batch of changes.

Standard library and Samba's own binding only; nothing of this product can be imported there. So the parts of this package
are joined to one text (`script`), which is sent as it is (`python3 -I -c`), with a JSON request on standard input, and
writes a JSON answer. The work is serialised by a lock file of the instance, so that a script whose service was killed and
that of its successor never overlap; one that was orphaned before it had the lock does nothing.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from services.samba.agent.common import opened
from services.samba.agent.place import PARENT, mark, marker

#: What native mode uses of it in its own process.
__all__ = ["PARENT", "PARTS", "mark", "marker", "opened", "script", "source"]

#: In the order in which they need each other.
PARTS = ("common", "daemon", "place", "directories", "databases", "operations", "serving")


@cache
def script() -> str:
    """The parts as one program: without their imports of each other, and with one import from the future."""
    return "from __future__ import annotations\n" + "".join(_body(source(part)) for part in PARTS)


def source(part: str) -> str:
    return Path(__file__).with_name(f"{part}.py").read_text(encoding="utf-8")


def _body(text: str) -> str:
    lines = text.splitlines(keepends=True)
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("__future__", "services.")):
            lines[node.lineno - 1 : node.end_lineno] = ["\n"] * ((node.end_lineno or node.lineno) - node.lineno + 1)
    return "".join(lines)
