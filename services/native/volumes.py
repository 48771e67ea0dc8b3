"""Volumes: a share's own file system in an image file, mounted through a loop device. Its size is the share's quota.

XFS, because it binds root too and grows while it is mounted on every kernel. What belongs to a share carries the share's
uid: the image in its name, the file system as its UUID. An image gets its name only when its file system is complete.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import re
import secrets
import stat
import struct
import time
import uuid
from dataclasses import dataclass

from services.core.errors import PathUnsuitable, PreconditionFailed, StorageFull
from services.core.ports import Completed, Host
from services.native import processes
from services.native.host import sync_directory

#: Sizes are rounded up to whole blocks: a loop device cuts off what is not a whole sector.
BLOCK = 4096
#: xfs_growfs leaves a rest that is too small for an allocation group alone.
_SMALLEST_GROUP = 64 * BLOCK
UNMOUNT_SECONDS = 15.0
_SLOW = 300.0

# ioctl_iflags(2)
_GETFLAGS, _SETFLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


@dataclass(frozen=True)
class Mount:
    """What is mounted on a path. `image` is the file behind its loop device, or empty."""

    device: str
    image: str


class Volumes:
    """The volumes whose images lie in one directory."""

    def __init__(self, host: Host, directory: str) -> None:
        self._host = host
        # As the kernel names it: what it says of a loop device is compared with it.
        self._directory = os.path.realpath(directory)

    def image(self, uid: str) -> str:
        return f"{self._directory}/{uid}.img"

    def exists(self, uid: str) -> bool:
        return os.path.exists(self.image(uid))

    def size(self, uid: str) -> int:
        return os.stat(self.image(uid)).st_size

    def check_space(self, more: int) -> None:
        """`StorageFull` unless so many bytes are free now. Images are sparse, so nothing is reserved; but a volume whose
        promise cannot be kept even today is refused."""
        found = next(path for path in (self._directory, *_parents(self._directory)) if os.path.isdir(path))
        status = os.statvfs(found)
        free = status.f_bavail * status.f_frsize
        if free < more:
            raise StorageFull(
                f"the volume needs {more} more bytes, {self._directory} has {free} free",
                metadata={"needed_bytes": str(more), "free_bytes": str(free)},
            )

    def make(self, uid: str, size_bytes: int, gid: int) -> None:
        """Makes the image with an empty file system whose root belongs to root and the group, mode 2770."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        self._sweep(uid)
        size = rounded(size_bytes)
        self.check_space(size)
        temporary = f"{self.image(uid)}.new-{secrets.token_hex(4)}"
        prototype = f"{temporary}.proto"
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600), "rb") as file:
                os.truncate(file.fileno(), size)
            identity = ["-m", f"uuid={_uuid(uid)}", "-L", f"pve-{uid[:8]}"]
            # The prototype (mkfs.xfs(8), -p; it wants a regular file) makes owner and mode of the root part of the step.
            self._host.write_file(prototype, f"/\n0 0\nd-g770 0 {gid}\n$\n".encode())
            argv = ["mkfs.xfs", "-q", *identity, "-p", prototype, temporary]
            self._must(self._host.run(argv, timeout=_SLOW), "the file system could not be made")
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.rename(temporary, self.image(uid))
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
            raise
        finally:
            self._host.remove(prototype)
        sync_directory(self._directory)

    def is_ours(self, uid: str) -> bool:
        """Whether the image holds the file system of this share and no other."""
        with open(self.image(uid), "rb") as file:
            head = file.read(48)
        return head[:4] == b"XFSB" and head[32:48] == _uuid(uid).bytes

    def mounted(self, path: str) -> Mount | None:
        """What is mounted on exactly this path, the topmost."""
        found, path = None, os.path.realpath(path)
        with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                fields = line.split(" ")
                if _unescape(fields[4]) == path:
                    found = Mount(_unescape(fields[fields.index("-") + 2]), _backing_file(fields[2]))
        return found

    def mount(self, uid: str, path: str) -> None:
        """Mounts it; the loop device goes by itself when it is unmounted, or when mount(8) is killed half way."""
        argv = ["mount", "-t", "xfs", "-o", "loop,nosuid,nodev", self.image(uid), path]
        self._must(self._host.run(argv, timeout=_SLOW), f"the volume could not be mounted on {path}")
        if (mount := self.mounted(path)) is None or mount.image != self.image(uid):
            raise PathUnsuitable(f"the volume was mounted on {path}, but something else is found there")

    def grow(self, uid: str, path: str, size_bytes: int) -> None:
        """Brings image, loop device and file system of the mounted volume to at least this size."""
        size = rounded(size_bytes)
        mount = self.mounted(path)
        assert mount is not None
        if (now := self.size(uid)) < size:
            self.check_space(size - now)
            os.truncate(self.image(uid), size)
        if _device_size(mount.device) < self.size(uid):
            self._must(self._host.run(["losetup", "-c", mount.device]), "the loop device could not be grown")
        if self.file_system_size(path) + _SMALLEST_GROUP < self.size(uid):
            self._must(self._host.run(["xfs_growfs", path], timeout=_SLOW), "the file system could not be grown")

    def file_system_size(self, path: str) -> int:
        """Bytes of the mounted file system, its own needs included."""
        text = self._must(self._host.run(["xfs_growfs", "-n", path]), "the file system does not answer").decode()
        found = re.search(r"^data +=.*bsize=(\d+) +blocks=(\d+)", text, re.MULTILINE)
        if found is None:
            raise PathUnsuitable(f"xfs_growfs does not tell the size of {path}")
        return int(found[1]) * int(found[2])

    def unmount(self, uid: str, path: str, timeout: float = UNMOUNT_SECONDS) -> None:
        """Unmounts it if it is mounted there. A last client may need a moment to let go; after `timeout` seconds the
        error says who holds on. Never lazily: a file system that nobody sees but somebody writes to helps nobody."""
        deadline, pause = time.monotonic() + timeout, 0.05
        while (mount := self.mounted(path)) is not None and mount.image == self.image(uid):
            ended = self._host.run(["umount", path], timeout=_SLOW)
            if ended.returncode == 0:
                continue
            if time.monotonic() > deadline:
                holders = ", ".join(processes.holders_below(path)) or "an unknown user"
                raise PreconditionFailed(
                    f"the volume at {path} is in use by {holders}",
                    help=f"Close what is open below {path} on the host (`fuser -vm {path}`), then delete again.",
                )
            time.sleep(pause)
            pause = min(pause * 2, 1.0)

    def delete(self, uid: str) -> None:
        """Removes the image, and what an interrupted `make` left. Refuses while a loop device still uses it."""
        self._sweep(uid)
        image = self.image(uid)
        if not os.path.exists(image):
            return
        used = self._must(self._host.run(["losetup", "-n", "-O", "NAME", "-j", image]), "losetup failed").decode().split()
        if used:
            raise PreconditionFailed(
                f"the volume's image is still used by {', '.join(used)}", help=f"See `findmnt {used[0]}` on the host."
            )
        os.unlink(image)
        sync_directory(self._directory)

    def unmount_all(self) -> None:
        """Unmounts every volume of this directory, so far as it is not in use."""
        with open("/proc/thread-self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            rows = [line.split(" ") for line in file]
        for fields in rows:
            if os.path.dirname(_backing_file(fields[2])) == self._directory:
                self._host.run(["umount", _unescape(fields[4])], timeout=_SLOW)

    def _sweep(self, uid: str) -> None:
        for left in glob.glob(f"{glob.escape(self.image(uid))}.new-*"):
            os.unlink(left)

    def _must(self, ended: Completed, what: str) -> bytes:
        if ended.returncode != 0:
            said = " ".join(ended.stderr.decode(errors="replace").split())[-300:]
            if "No space left" in said:
                raise StorageFull(f"{what}: {said}")
            raise PathUnsuitable(f"{what}: {said}", help="See `dmesg` and the state of the loop devices (`losetup -a`).")
        return ended.stdout


def rounded(size_bytes: int) -> int:
    """The size that a volume really gets."""
    return -(-size_bytes // BLOCK) * BLOCK


def make_mount_point(path: str) -> None:
    """Makes a directory that nobody, not even root, can put a file into while nothing is mounted on it: what clients
    wrote there would be hidden later, and would not be on the volume."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0)
    _set_immutable(path, True)


def remove_mount_point(path: str) -> None:
    """Removes it if it is empty, and nothing is mounted there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if stat.S_ISDIR(os.lstat(path).st_mode) and not os.listdir(path):
            _set_immutable(path, False)
            with contextlib.suppress(OSError):
                os.rmdir(path)


def _set_immutable(path: str, on: bool) -> None:
    """As far as the file system can."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            flags = struct.unpack("l", fcntl.ioctl(fd, _GETFLAGS, struct.pack("l", 0)))[0]
            wanted = flags | _IMMUTABLE if on else flags & ~_IMMUTABLE
            if wanted != flags:
                fcntl.ioctl(fd, _SETFLAGS, struct.pack("l", wanted))
    finally:
        os.close(fd)


def _uuid(uid: str) -> uuid.UUID:
    return uuid.UUID(uid)


def _parents(path: str) -> list[str]:
    parents = []
    while (parent := os.path.dirname(path)) != path:
        parents.append(parent)
        path = parent
    return parents


def _backing_file(device_number: str) -> str:
    try:
        with open(f"/sys/dev/block/{device_number}/loop/backing_file", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().rstrip("\n")
    except OSError:
        return ""


def _device_size(device: str) -> int:
    with open(device, "rb") as file:
        return file.seek(0, os.SEEK_END)


def _unescape(text: str) -> str:
    """Space, tab, newline and backslash stand in octal in mountinfo (proc(5))."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
