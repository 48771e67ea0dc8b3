"""How a guest says whose it is: a tag for all of ours, a tag with the uid, and the uid in its notes."""

from __future__ import annotations

import re
from collections.abc import Sequence

#: Every guest of ours carries it, so that a list need not read the configuration of all guests.
TAG = "pvesmb"
_OWNER = re.compile(r"^pvesmb-uid: (\S+)\s*$", re.MULTILINE)


def owner_tag(uid: str) -> str:
    """Tags are lower case on most nodes, and take no other signs than these."""
    return f"{TAG}-" + re.sub(r"[^a-z0-9_.+-]", "-", uid.lower())


def description(uid: str, note: str = "") -> str:
    return f"{note}\n\npvesmb-uid: {uid}".lstrip()


def owner_of(tags: Sequence[str], description: str) -> str:
    """The uid that a guest carries; empty unless it stands in both places, so that a guest that somebody tagged, or
    whose notes were copied, is not taken for ours."""
    found = _OWNER.findall(description)
    if TAG not in tags or len(found) != 1 or owner_tag(found[0]) not in tags:
        return ""
    return str(found[0])
