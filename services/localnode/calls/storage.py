"""`/storage` and `/nodes/{node}/storage`: what lies where, and uploads."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from services.localnode.api.formats import split_list
from services.localnode.api.refusal import bad_parameters, bad_request
from services.localnode.api.routes import Call
from services.localnode.node import Node
from services.localnode.storages import CONTENT, Storage
from services.localnode.tasks import Say, TaskError

_SEES = ("Datastore.Audit", "Datastore.AllocateSpace")


def storage_figures(storage: Storage) -> dict[str, Any]:
    total, used, free = storage.usage()
    return {
        "active": 1, "avail": free, "content": ",".join(sorted(storage.content)), "enabled": 1, "shared": 0,
        "total": total, "type": storage.kind, "used": used,
    }  # fmt: skip


def storages(node: Node, call: Call) -> Any:
    """Those that the caller may see; with `content`, those that take one of these contents."""
    wanted = set(split_list(call.text("content")))
    found = []
    for name in node.storage_names():
        storage = node.storage(name)
        if call.rights.has_any(f"/storage/{name}", *_SEES) and (not wanted or wanted & set(storage.content)):
            figures = storage_figures(storage)
            share = figures["used"] / figures["total"] if figures["total"] else 0
            found.append({**figures, "storage": name, "used_fraction": share})
    return [entry for entry in found if call.text("storage", entry["storage"]) == entry["storage"]]


def status(node: Node, call: Call) -> Any:
    return storage_figures(_seen(node, call))


def content(node: Node, call: Call) -> Any:
    storage = _seen(node, call)
    found = []
    for entry in storage.entries():
        if call.text("content", entry.content) != entry.content or call.number("vmid", entry.vmid) != entry.vmid:
            continue
        shown = {"volid": entry.volid, "content": entry.content, "format": entry.format, "size": entry.size}
        shown["ctime"] = entry.ctime
        found.append({**shown, "vmid": entry.vmid, "used": entry.size, "parent": None} if entry.vmid else shown)
    return found


def change(node: Node, call: Call) -> Any:
    """Only what a storage may hold can be changed here."""
    name = call.where["storage"]
    call.rights.need("/storage", "Datastore.Allocate")
    node.storage(name)
    with node.state.change() as facts:
        if "content" in call.values:
            facts.storages[name].content = split_list(call.text("content"))
    return {"storage": name, "type": node.storage(name).kind}


def upload(node: Node, call: Call) -> Any:
    """Takes the file in and checks its sum; the task moves it into place."""
    name, kind, filename = call.where["storage"], call.text("content"), call.text("filename")
    call.rights.need(f"/storage/{name}", "Datastore.AllocateTemplate")
    storage = node.storage(name)
    if not re.fullmatch(CONTENT[kind][1], filename) or "/" in filename or filename.startswith("."):
        raise bad_parameters({"filename": "wrong file extension"})
    storage.need(kind)
    source, algorithm, expected = call.upload, call.text("checksum-algorithm"), call.text("checksum").lower()
    if source is None or (expected and (not algorithm or len(expected) != hashlib.new(algorithm).digest_size * 2)):
        raise bad_request()
    # The request ends before the task does: the file moves out of the request's hands now.
    waiting = source.parent.with_suffix(".waiting")
    source.rename(waiting)

    def work(say: Say) -> None:
        try:
            say(f"target node: {node.name}")
            say(f"target file: {storage.path / CONTENT[kind][0] / filename}")
            say(f"file size is: {waiting.stat().st_size}")
            if expected:
                with waiting.open("rb") as f:
                    if hashlib.file_digest(f, algorithm).hexdigest() != expected:
                        raise TaskError("checksum mismatch")
            storage.upload(kind, filename, waiting)
            say("finished file import successfully")
        finally:
            waiting.unlink(missing_ok=True)

    return node.tasks.start(call.rights.caller, "imgcopy", "", work)


def delete(node: Node, call: Call) -> Any:
    """A volume that is not there is no error, as on a node."""
    name, volid = call.where["storage"], call.where["volid"]
    volid = volid if ":" in volid else f"{name}:{volid}"
    call.rights.need(f"/storage/{name}", "Datastore.Allocate")
    storage = node.storage(name)
    file = storage.file(volid)

    def work(say: Say) -> None:
        if storage.path / "images" in file.parents:
            storage.volumes.remove(file)
        else:
            file.unlink(missing_ok=True)
        say(f"Removed volume '{volid}'")

    return node.tasks.start(call.rights.caller, "imgdel", name, work)


def _seen(node: Node, call: Call) -> Storage:
    name = call.where["storage"]
    if name not in node.storage_names():
        raise bad_parameters({"storage": "No such storage."})
    call.rights.need_any(f"/storage/{name}", *_SEES)
    return node.storage(name)
