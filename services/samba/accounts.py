"""passwd(5) and group(5) of a file server, written whole from its desired contents."""

from __future__ import annotations

from dataclasses import replace

from services.core.domain.names import Kind
from services.core.steps import Contents, Work
from services.samba.instance import GUEST_USER, PROBE_USER, USERS_GROUP, Server
from services.samba.layout import Layout


def wanted(work: Work, *, removing: bool = False) -> Contents:
    """The contents as they shall be after this work: with its changes in, or out when they are being removed."""
    contents = work.contents
    for kind, field in ((Kind.SHARE, "shares"), (Kind.USER, "users"), (Kind.GROUP, "groups")):
        rows = contents.named(kind)
        for change in work.live(kind):
            if removing:
                rows.pop(change.id, None)
            else:
                rows[change.id] = change.resource
        contents = replace(contents, **{field: tuple(rows[id] for id in sorted(rows))})
    return contents


def passwd(server: Server, layout: Layout, contents: Contents) -> str:
    """The system's lines, ours, and the users. Every user's primary group is USERS_GROUP; the guest and the probe have
    groups of their own, so that a rule for everyone does not mean them."""
    users_gid, guest, probe = _ids(server)
    rows = [(GUEST_USER, guest, guest, "Guest"), (PROBE_USER, probe, probe, "Probe")]
    rows += [(u.name.last, int(u.assigned["unix_id"]), users_gid, u.spec.full_name) for u in contents.users]
    lines = [f"{name}:x:{uid}:{gid}:{gecos}:/nonexistent:/usr/sbin/nologin" for name, uid, gid, gecos in rows]
    return _file(layout.system_passwd, lines)


def group(server: Server, layout: Layout, contents: Contents) -> str:
    """Groups with their members; a member that is no longer a user is left out."""
    users_gid, guest, probe = _ids(server)
    users = contents.named(Kind.USER)
    lines = [f"{USERS_GROUP}:x:{users_gid}:", f"{GUEST_USER}:x:{guest}:", f"{PROBE_USER}:x:{probe}:"]
    for row in contents.groups:
        members = ",".join(member for member in row.spec.members if member in users)
        lines.append(f"{row.name.last}:x:{int(row.assigned['unix_id'])}:{members}")
    return _file(layout.system_group, lines)


def _ids(server: Server) -> tuple[int, int, int]:
    assigned = server.assigned
    return int(assigned["users_gid"]), int(assigned["guest_uid"]), int(assigned["probe_uid"])


def _file(head: str, lines: list[str]) -> str:
    if head and not head.endswith("\n"):
        head += "\n"
    return head + "".join(line + "\n" for line in lines)
