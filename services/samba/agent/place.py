"""The way to a share's directory, and whose it is."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat

from services.samba.agent.common import Answer, Fault, fault_of, opened

MARKS = ("trusted.pvesmb.uid", "user.pvesmb.uid")
PARENT = b"parent"
RENAME_NOREPLACE = 1


def marker(fd: int) -> bytes:
    """Whose directory it is; empty if it is not ours."""
    for name in MARKS:
        with contextlib.suppress(OSError):
            return os.getxattr(fd, name)
    return b""


def mark(fd: int, value: bytes) -> bool:
    """`trusted.*` can be seen by root only, and not be written in user namespaces; then `user.*`; else there is no mark."""
    for name in MARKS:
        try:
            os.setxattr(fd, name, value)
            return True
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
    return False


def rename_new(old: str, new: str, parent: int) -> None:
    """Renames within a directory, and never replaces anything (renameat2(2); not every file system has it)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.renameat2(parent, os.fsencode(old), parent, os.fsencode(new), RENAME_NOREPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS):
        raise OSError(code, os.strerror(code), new)
    with contextlib.suppress(FileNotFoundError):
        os.stat(new, dir_fd=parent, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(old, new, src_dir_fd=parent, dst_dir_fd=parent)


class Place:
    """The way to a share's directory: opened component by component from an allowed root, never through a symbolic link."""

    def __init__(self, item: Answer, roots: list[str]) -> None:
        self.item, self.path, self.uid = item, str(item["path"]), str(item["uid"]).encode()
        #: Whether it is a volume of ours, and whether it has to be a mount point, which a directory of the node is too.
        self.volume, self.mounted = bool(item["volume"]), bool(item["mounted"])
        root = next((r for r in sorted(roots, key=len, reverse=True) if self.path.startswith(r.rstrip("/") + "/")), None)
        if self.mounted:
            root = root or "/"
        if root is None:
            raise Fault("PATH_NOT_ALLOWED", f"{self.path} is not below a directory that the backend allows")
        self.root = root
        *self.parents, self.leaf = self.path[len(root.rstrip("/")) + 1 :].split("/")
        if any(part in ("", ".", "..") for part in (*self.parents, self.leaf)):
            raise Fault("PATH_NOT_ALLOWED", f"{self.path} is not a plain path")
        self._fds = contextlib.ExitStack()
        #: The directories on the way below the root, each by the one above and its name, and the lowest of them.
        self.way: list[tuple[int, str]] = []
        self.lowest = -1

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        self._fds.close()

    def child(self, parent: int, name: str, path: str) -> int | None:
        try:
            return self._fds.enter_context(opened(name, parent))
        except FileNotFoundError:
            return None
        except OSError as error:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                raise Fault("PATH_NOT_ALLOWED", f"{path} is a symbolic link") from None
            if not stat.S_ISDIR(found.st_mode):
                raise Fault("PATH_UNSUITABLE", f"{path} is not a directory") from None
            raise fault_of(error, path) from None

    def descend(self, make: bool) -> int | None:
        """The directory above the share's, made if asked for; None if it is missing."""
        try:
            fd = self._fds.enter_context(opened(self.root))
        except OSError as error:
            raise Fault(
                "PATH_UNSUITABLE", f"{self.root}: {os.strerror(error.errno or 0)}", "Is its storage mounted?"
            ) from None
        path, self.lowest = self.root.rstrip("/"), fd
        for name in self.parents:
            above, path = fd, f"{path}/{name}"
            below = self.child(above, name, path)
            if below is None and make:
                os.mkdir(name, 0o755, dir_fd=above)
                below = self.child(above, name, path)
                if below is not None:
                    os.fchmod(below, 0o755)
                    mark(below, PARENT)
                    os.fsync(above)
            if below is None:
                return None
            self.way.append((above, name))
            fd = self.lowest = below
        return fd

    def check_way(self) -> None:
        """Everybody must be able to pass through all directories above: smbd goes there as the user."""
        above = os.path.dirname(os.path.realpath(self.root).rstrip("/") + self.path[len(self.root.rstrip("/")) :])
        while True:
            if not os.stat(above).st_mode & 0o001:
                raise Fault(
                    "PATH_UNSUITABLE", f"users cannot pass through {above}", f"Allow it: chmod o+x {above}", path=above
                )
            if above == "/":
                return
            above = os.path.dirname(above)

    def problem(self, fd: int, *, demanded: bool) -> str:
        """How owner, group or mode differ from what must be; `demanded` restricts it to what the share says itself."""
        found, says = os.fstat(fd), self.item["explicit"]
        for name, is_, wanted in (("owner", found.st_uid, self.item["owner"]), ("group", found.st_gid, self.item["group"])):
            if is_ != wanted and (says[name] or not demanded):
                return f"{self.path} has the {name} {is_}, wanted is {wanted}"
        if demanded and says["mode"] and stat.S_IMODE(found.st_mode) != self.item["mode"]:
            return f"{self.path} has the mode {stat.S_IMODE(found.st_mode):o}, wanted is {self.item['mode']:o}"
        return ""
