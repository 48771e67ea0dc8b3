"""Asks the agent script on the host, and turns its answers into errors of the product."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from services.core.domain.names import Kind
from services.core.domain.share import DirectoryStorage, VolumeStorage
from services.core.errors import REASONS, HostNotPrepared, HostUnreachable, PreconditionFailed, PvesmbError
from services.core.steps import Contents
from services.samba import accounts, agent
from services.samba.instance import GUEST_USER, PROBE_USER, Instances, Server
from services.samba.layout import Layout
from services.samba.shares import Share

Json = dict[str, Any]

INTERPRETER = "/usr/bin/python3"
#: What is run on the host, in the environment of the instance.
PROGRAM = (INTERPRETER, "-I", "-c", agent.script())
TIMEOUT = 120.0
#: Removing a big tree takes its time.
DELETE_TIMEOUT = 3600.0


def ask(instances: Instances, server: Server, op: str, data: Mapping[str, Any], timeout: float = TIMEOUT) -> Json:
    """Runs the script, whose data goes in by standard input only. An error of the whole is raised, those of single users
    and shares are in the answer. One that was killed (for want of memory, say) is run again, once: it finds done what was
    done."""
    layout = instances.layout(server)
    request = {"op": op, "conf": layout.conf, "lock_dir": layout.lock_dir, "pid_dir": layout.pid_dir, **data}
    argv = layout.command(*PROGRAM)
    for _ in range(2):
        done = instances.host(server).run(argv, stdin=json.dumps(request).encode(), timeout=timeout)
        if done.returncode >= 0:
            break
    else:
        raise HostUnreachable(
            "the program that changes Samba was killed on the host, twice",
            help="See in the host's kernel log who killed it (was the memory at an end?), then call again.",
        )
    if done.returncode in (126, 127):
        raise HostNotPrepared(f"{INTERPRETER} cannot be run on the host", metadata={"name": "python3"})
    try:
        answer: Json = json.loads(done.stdout)
    except ValueError:
        told = done.stderr.decode("utf-8", "replace")[-4000:]
        raise RuntimeError(f"the agent script failed with {done.returncode}: {told}") from None
    if "error" in answer:
        raise error_of(answer["error"])
    return answer


def error_of(data: Mapping[str, Any]) -> PvesmbError:
    return REASONS[data["reason"]](data["message"], help=data["help"], metadata=data["metadata"])


def account_files(server: Server, layout: Layout, contents: Contents) -> Json:
    return {
        "passwd": {"path": layout.passwd, "text": accounts.passwd(server, layout, contents)},
        "group": {"path": layout.group, "text": accounts.group(server, layout, contents)},
    }


def probe_account(instances: Instances, server: Server, *, force: bool) -> Json:
    return {"name": PROBE_USER, "password": instances.probe_password(server), "force": force}


def known_users(contents: Contents) -> list[str]:
    """Everybody who may have an account with a password."""
    return [GUEST_USER, PROBE_USER, *(user.name.last for user in contents.users)]


def directory(server: Server, share: Share, contents: Contents) -> Json:
    """What the script has to know to make or check a share's directory. `fresh` allows it to make the directories above:
    those of a share that has run already can only be missing because its storage is."""
    storage, default = share.spec.storage, DirectoryStorage()
    if not isinstance(storage, DirectoryStorage):
        storage = default
    # New files take over the directory's group (its mode has the setgid bit), so a forced one has to be the directory's.
    group = storage.group or share.spec.file_creation.force_group
    return removal(share, "keep") | {
        "owner": _unix_id(contents, Kind.USER, storage.owner, 0),
        "group": _unix_id(contents, Kind.GROUP, group, int(server.assigned["users_gid"])),
        "mode": int(storage.mode, 8),
        "explicit": {
            "owner": bool(storage.owner),
            "group": bool(storage.group),
            "mode": int(storage.mode, 8) != int(default.mode, 8),
        },
        "fresh": share.observed_generation == 0,
    }


def removal(share: Share, data: str) -> Json:
    """What the script has to know to remove it: `keep` it, `delete` it with its data, or remove it if `empty`."""
    return {
        "name": share.name.last,
        "uid": share.uid,
        "path": str(share.assigned["path"]),
        "volume": isinstance(share.spec.storage, VolumeStorage),
        "mounted": not isinstance(share.spec.storage, DirectoryStorage),
        "data": data,
    }


def _unix_id(contents: Contents, kind: Kind, id: str, default: int) -> int:
    if not id:
        return default
    row = contents.named(kind).get(id)
    if row is None:
        raise PreconditionFailed(f"the directory shall belong to {id}, who does not exist in the file server")
    return int(row.assigned["unix_id"])


def within(contents: Contents, path: str) -> Sequence[str]:
    """Ids of the shares whose directories lie at or below this one."""
    inside = path.rstrip("/") + "/"
    return [s.name.last for s in contents.shares if (str(s.assigned["path"]).rstrip("/") + "/").startswith(inside)]
