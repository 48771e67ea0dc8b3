"""Share directories: made, checked and removed."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sys
from collections.abc import Iterator

from services.samba.agent.common import Answer, Fault, opened
from services.samba.agent.place import PARENT, Place, mark, marker, rename_new


def make_directory(item: Answer, roots: list[str]) -> Answer:
    """Makes the share's directory unless it exists. One that we did not make is used as it is."""
    with Place(item, roots) as place:
        parent = place.descend(make=item["fresh"] and not place.mounted)
        fd = place.child(parent, place.leaf, place.path) if parent is not None else None
        if place.mounted and (fd is None or not os.path.ismount(place.path)):
            raise Fault("PATH_UNSUITABLE", f"nothing is mounted on {place.path}")
        if parent is None:
            above = os.path.dirname(place.path)
            raise Fault("PATH_UNSUITABLE", f"{above} was there and is missing now", "Is its storage mounted?", path=above)
        notes, existed = [], fd is not None and not place.volume and marker(fd) != place.uid
        if fd is None:
            fd = new_directory(place, parent)
            if not marker(fd):
                notes.append("the file system keeps no mark: the directory will never be removed by us")
        elif existed:
            if problem := place.problem(fd, demanded=True):
                raise Fault("PATH_UNSUITABLE", problem)
            notes.append(f"{place.path} existed and is used as it is")
        else:
            settle(place, fd)
        place.check_way()
        return {"existed": existed, "notes": notes}


def settle(place: Place, fd: int) -> None:
    """Owner and group of a directory that is ours; the mode only of a volume's root, since people may have changed that of
    a directory by SMB."""
    if place.problem(fd, demanded=False):
        os.fchown(fd, place.item["owner"], place.item["group"])
    if place.volume:
        os.fchmod(fd, place.item["mode"])
        mark(fd, place.uid)


def new_directory(place: Place, parent: int) -> int:
    """Made ready under another name, so that nobody sees it half made, nor we take half a directory for a whole one."""
    temporary = f".pvesmb-{place.item['uid']}"
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(temporary, dir_fd=parent)
    os.mkdir(temporary, 0o700, dir_fd=parent)
    try:
        with opened(temporary, parent) as fd:
            mark(fd, place.uid)
            os.fchown(fd, place.item["owner"], place.item["group"])
            os.fchmod(fd, place.item["mode"])
            os.fsync(fd)
        rename_new(temporary, place.leaf, parent)
        os.fsync(parent)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(temporary, dir_fd=parent)
        raise
    made = place.child(parent, place.leaf, place.path)
    assert made is not None
    return made


def check_directory(item: Answer, roots: list[str]) -> str:
    """What is wrong with the directory of a share that is served; empty if nothing is."""
    try:
        with Place(item, roots) as place:
            parent = place.descend(make=False)
            fd = place.child(parent, place.leaf, place.path) if parent is not None else None
            if fd is None:
                return f"{place.path} is missing"
            if place.mounted and not os.path.ismount(place.path):
                return f"nothing is mounted on {place.path}"
            place.check_way()
            return place.problem(fd, demanded=not place.volume and marker(fd) != place.uid)
    except Fault as fault:
        return str(fault)
    except OSError as error:
        return f"{item['path']}: {os.strerror(error.errno or 0)}"


def remove_directory(item: Answer, roots: list[str], *, really: bool) -> Answer:
    """Removes the directory if it is ours: with `data` = `delete` with all that is in it, with `empty` only if nothing is.
    Not `really` only looks whether it may be. Symbolic links are not followed and mounts not entered."""
    if item["volume"] or item["data"] == "keep":
        return {}
    with Place(item, roots) as place:
        try:
            parent = place.descend(make=False)
            fd = place.child(parent, place.leaf, place.path) if parent is not None else None
        except Fault:
            if item["data"] == "delete" and os.path.lexists(place.path):
                raise
            return {}
        if fd is not None:
            if marker(fd) != place.uid:
                if item["data"] == "delete":
                    raise Fault(
                        "PRECONDITION_FAILED",
                        f"{place.path} was not made by this product",
                        "Delete the share without its data.",
                    )
                return {}
            if item["data"] == "delete":
                refuse_foreign(fd, place.path, place.uid)
            if not really:
                return {}
            try:
                if item["data"] == "delete":
                    empty_directory(fd, place.path)
                os.rmdir(place.leaf, dir_fd=parent)
            except OSError as error:
                if item["data"] == "empty" and error.errno == errno.ENOTEMPTY:
                    return {"notes": [f"{place.path} is not empty and was kept"]}
                raise
        elif not really:
            return {}
        if parent is not None:
            with contextlib.suppress(OSError):
                os.rmdir(f".pvesmb-{item['uid']}", dir_fd=parent)
        remove_parents(place)
        return {}


def remove_parents(place: Place) -> None:
    """Directories above that we made and that are empty now."""
    fd = place.lowest
    for above, name in reversed(place.way):
        if marker(fd) != PARENT:
            return
        try:
            os.rmdir(name, dir_fd=above)
        except OSError:
            return
        fd = above


def mount_of(fd: int) -> str:
    """Id of the mount; the device number would not tell a bind mount of the same file system."""
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as file:
        return next(line for line in file if line.startswith("mnt_id"))


@contextlib.contextmanager
def depth() -> Iterator[None]:
    """A client can nest directories deeply: the limits on open files and on recursion are raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(20000)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def refuse_foreign(top: int, path: str, uid: bytes) -> None:
    """Looks through the whole tree before anything of it is removed, and refuses if it holds what is not ours: a directory
    with another share's mark (it may be of another file server, which nobody here knows), or a mount."""
    mount = mount_of(top)

    def look(fd: int, path: str) -> None:
        if mount_of(fd) != mount:
            raise kept(path, "is a mount of its own", "Unmount it first.")
        if marker(fd) not in (b"", PARENT, uid):
            raise kept(path, "belongs to another share", "Delete that share first, or delete this one without its data.")
        with os.scandir(fd) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for name in names:
            with opened(name, fd) as below:
                look(below, f"{path}/{name}")

    with depth():
        look(top, path)


def kept(path: str, why: str, help: str) -> Fault:
    return Fault("PRECONDITION_FAILED", f"{path} {why}: nothing was removed", help, path=path)


def empty_directory(top: int, path: str) -> None:
    """What was mounted after `refuse_foreign` has looked is not entered either."""
    mount = mount_of(top)

    def empty(fd: int, path: str) -> None:
        if mount_of(fd) != mount:
            raise Fault("PATH_UNSUITABLE", f"{path} is a mount of its own: its files were kept", "Unmount it first.")
        with os.scandir(fd) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
        for name, is_directory in found:
            if is_directory:
                with opened(name, fd) as below:
                    empty(below, f"{path}/{name}")
                os.rmdir(name, dir_fd=fd)
            else:
                os.unlink(name, dir_fd=fd)

    with depth():
        empty(top, path)
