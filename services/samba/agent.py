"""Runs on the host of a file server, under the distribution's Python, once for a batch of changes.

Standard library and Samba's own binding only; nothing of this product can be imported there. `apply.py` sends this text as
it is (`python3 -I -c`), with a JSON request on standard input, and reads a JSON answer. The work is serialised by a lock
file of the instance, so that a script whose service was killed and that of its successor never overlap; one that was
orphaned before it had the lock does nothing.

What is known of Samba's behaviour here was measured with 4.17.12: a share taken out of the registry is still given to
sessions that used it, until `close-share`; `close-denied-share` cuts those that lost all rights, but lets the others keep
rights that were lowered; passwd(5) of nss_wrapper(1) is read again when the whole second of its mtime differs.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import math
import os
import re
import resource
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

MARKS = ("trusted.pvesmb.uid", "user.pvesmb.uid")
PARENT = b"parent"
SCRATCH = "pvesmb-scratch"
LOCK_SECONDS = 60.0
ACB_DISABLED, ACB_NORMAL = 0x01, 0x10
RENAME_NOREPLACE = 1
#: What testparm(1) says of mistakes; its exit status is 0 for most of them.
SUSPICIOUS = re.compile(
    r"unknown parameter|error|warning|invalid|not valid|failed|cannot|can't|deprecated|global parameter", re.I
)
#: Names of dialects that testparm(1) gives back by another.
SAME = {"smb2": "smb2_10", "smb3": "smb3_11"}
TRUE, FALSE = {"yes", "true", "on", "1"}, {"no", "false", "off", "0"}
#: Options whose change takes rights away from open sessions in a way that `close-denied-share` does not see.
BINDING = ("force user", "force group", "hosts allow", "hosts deny", "guest ok")

Answer = dict[str, Any]
Params = dict[str, str]


class Fault(Exception):
    """An error with one of the product's reasons."""

    def __init__(self, reason: str, message: str, help: str = "", **metadata: str) -> None:
        super().__init__(message)
        self.answer = {"reason": reason, "message": message, "help": help, "metadata": metadata}


def fault_of(error: OSError, what: str) -> Fault:
    """An error of the system, told by its consequence."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fault("STORAGE_FULL", f"{what}: the storage is full")
    return Fault("PATH_UNSUITABLE", f"{what}: {os.strerror(error.errno or 0)}")


# Lock, files, commands


@contextlib.contextmanager
def locked(directory: str, parent: int) -> Iterator[None]:
    """Nothing is locked where the instance has no directory yet, or no more: nothing runs there either."""
    if not os.path.isdir(directory):
        yield
        return
    fd = os.open(os.path.join(directory, "pvesmb-agent.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        end, pause = time.monotonic() + LOCK_SECONDS, 0.01
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > end:
                    raise Fault("HOST_TIMEOUT", "another change of this file server did not end in time") from None
                time.sleep(pause)
                pause = min(pause * 2, 0.5)
        if os.getppid() != parent:
            raise Fault("HOST_UNREACHABLE", "the service that asked for this change is gone")
        yield
    finally:
        os.close(fd)


def put_file(path: str, text: str, mode: int) -> bool:
    """Writes the file whole if it differs. Its mtime moves on by a second at least."""
    data, before = text.encode(), None
    with contextlib.suppress(FileNotFoundError):
        with open(path, "rb") as file:
            if file.read() == data:
                return False
        before = os.stat(path).st_mtime
    temporary = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(fd, mode)
        if before is not None:
            moment = max(time.time(), math.floor(before) + 1)
            os.utime(fd, (moment, moment))
        os.fsync(fd)
    os.rename(temporary, path)
    with opened(os.path.dirname(path)) as parent:
        os.fsync(parent)
    return True


def text_of(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def opened(path: str, parent: int | None = None) -> Iterator[int]:
    fd = os.open(
        path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if parent is not None else 0), dir_fd=parent
    )
    try:
        yield fd
    finally:
        os.close(fd)


def tool(*argv: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60)
    except FileNotFoundError:
        raise Fault("HOST_NOT_PREPARED", f"the program {argv[0]} is missing on the host", name=argv[0]) from None
    except subprocess.TimeoutExpired:
        raise Fault("HOST_TIMEOUT", f"{argv[0]} did not end in its time") from None


class Daemon:
    """The running smbd of the instance, if there is one."""

    def __init__(self, request: Answer) -> None:
        self._conf = request["conf"]
        try:
            with open(os.path.join(request["pid_dir"], "smbd.pid"), encoding="ascii") as file:
                pid = int(file.read())
            os.kill(pid, 0)
            self.runs = True
        except (OSError, ValueError):
            self.runs = False

    def tell(self, target: str, *message: str) -> None:
        if self.runs:
            tool("smbcontrol", "-s", self._conf, target, *message)

    def status(self, part: str) -> Answer:
        """`smbstatus --json`, restricted to sessions (-p) or shares (-S)."""
        if not self.runs:
            return {}
        with contextlib.suppress(ValueError):
            return dict(json.loads(tool("smbstatus", "-s", self._conf, "--json", part).stdout))
        raise Fault("SAMBA_UNAVAILABLE", "smbstatus gives no answer")

    def end_sessions(self, users: set[str]) -> None:
        """Ends the processes that serve these users, and waits until they have ended."""
        rows = self.status("-p").get("sessions", {}).values() if users else ()
        pids = {int(row["server_id"]["pid"]) for row in rows if row["username"] in users}
        for pid in pids:
            self.tell(str(pid), "shutdown")
        wait(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids), "sessions to end")

    def close(self, names: list[str], message: str = "close-share") -> None:
        """Cuts the connections to these shares, and waits until they are cut."""
        for name in names:
            self.tell("smbd", message, name)
        if names and message == "close-share":
            gone = {name.casefold() for name in names}
            wait(
                lambda: not any(t["service"].casefold() in gone for t in self.status("-S").get("tcons", {}).values()),
                "shares to close",
            )


def wait(done: Callable[[], bool], what: str) -> None:
    end, pause = time.monotonic() + 10, 0.01
    while not done():
        if time.monotonic() > end:
            raise Fault("SAMBA_UNAVAILABLE", f"waited in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 2, 0.25)


# Directories


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
        self.volume = bool(item["volume"])
        root = next((r for r in sorted(roots, key=len, reverse=True) if self.path.startswith(r.rstrip("/") + "/")), None)
        if self.volume:
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


def make_directory(item: Answer, roots: list[str]) -> Answer:
    """Makes the share's directory unless it exists. One that we did not make is used as it is."""
    with Place(item, roots) as place:
        parent = place.descend(make=item["fresh"] and not place.volume)
        fd = place.child(parent, place.leaf, place.path) if parent is not None else None
        if place.volume and (fd is None or not os.path.ismount(place.path)):
            raise Fault("PATH_UNSUITABLE", f"the volume is not mounted on {place.path}")
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
            if place.volume and not os.path.ismount(place.path):
                return f"the volume is not mounted on {place.path}"
            place.check_way()
            return place.problem(fd, demanded=not place.volume and marker(fd) != place.uid)
    except Fault as fault:
        return str(fault)


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


def empty_directory(top: int, path: str) -> None:
    """A client can nest directories deeply: the limits on open files and on recursion are raised first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(20000)
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

    try:
        empty(top, path)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Samba's databases


class Samba:
    """The instance's account database and registry."""

    def __init__(self, conf: str) -> None:
        try:
            from samba.samba3 import param, passdb, smbconf
            from samba.smbconf import SBC_ERR_INVALID_PARAM, SMBConfError
        except ImportError:
            raise Fault("HOST_NOT_PREPARED", "python3-samba is missing on the host", name="python3-samba") from None
        settings = param.get_context()
        settings.load(conf)
        self._refused, self._unknown, self._invalid = SMBConfError, passdb.error, SBC_ERR_INVALID_PARAM
        self.passdb = passdb.PDB(settings.get("passdb backend"))
        self.registry = smbconf.init_reg(None)

    # Accounts

    def account(self, name: str) -> Any:
        try:
            return self.passdb.getsampwnam(name)
        except self._unknown as error:
            if "(-1073741724," in str(error):  # NT_STATUS_NO_SUCH_USER
                return None
            raise

    def accounts(self) -> dict[str, int]:
        return {row["account_name"]: row["acct_flags"] for row in self.passdb.search_users(0)}

    def set_account(self, name: str, password: str | None, disabled: bool) -> None:
        account = self.account(name)
        if password is None and (account is None or account.nt_passwd is None):
            raise Fault(
                "PRECONDITION_FAILED",
                f"the account of {name} is lost, and its password with it",
                "Set a new password: ResetPassword.",
            )
        if account is None:
            self.passdb.create_user(name, ACB_NORMAL)
            account = self.account(name)
        if password is not None:
            account.plaintext_passwd = password
        flags = ACB_NORMAL | (ACB_DISABLED if disabled else 0)
        if password is not None or account.acct_ctrl != flags:
            account.acct_ctrl = flags
            self.passdb.update_sam_account(account)
        account = self.account(name)
        if account is None or account.acct_ctrl != flags or account.nt_passwd is None:
            raise Fault("NOT_CONFIRMED", f"the account of {name} is not as it was written")

    def drop_account(self, name: str) -> None:
        account = self.account(name)
        if account is not None:
            self.passdb.delete_sam_account(account)

    # Shares

    def names(self) -> dict[str, str]:
        """Names in the registry by their case-folded form."""
        return {name.casefold(): name for name in self.registry.share_names()}

    def section(self, name: str) -> Params:
        return dict(self.registry.get_share(name)[1])

    def change(self, wanted: dict[str, Params], unwanted: list[str]) -> tuple[dict[str, Params], dict[str, Fault]]:
        """Brings the registry to the wanted shares in one transaction. A share that Samba refuses is left out and the
        transaction made again. Answers what changed shares were before, and which were refused."""
        names = self.names()
        before = {name: self.section(names[name.casefold()]) if name.casefold() in names else {} for name in wanted}
        differ = {n: p for n, p in wanted.items() if before[n] != p or names[n.casefold()] != n}
        drop = [names[name.casefold()] for name in unwanted if name.casefold() in names]
        faults: dict[str, Fault] = {}
        while differ or drop:
            refused = self._transaction(differ, drop, names)
            if refused is None:
                break
            faults[refused] = self._fault(refused, differ.pop(refused))
        for name, params in differ.items():
            if self.section(name) != params:
                odd = next((k for k in params if self.section(name).get(k) != params[k]), "")
                faults[name] = Fault(
                    "SAMBA_CONFIG_REJECTED", f"share {name}: Samba stores {odd!r} otherwise", parameter=odd
                )
        return {name: before[name] for name in differ}, faults

    def _transaction(self, put: dict[str, Params], drop: list[str], names: dict[str, str]) -> str | None:
        """One transaction; the name of the share that was refused, if one was: then nothing is changed."""
        self.registry.transaction_start()
        current = ""
        try:
            for current in drop:
                self.registry.delete_share(current)
            for current, params in put.items():
                if current.casefold() in names:
                    self.registry.delete_share(names[current.casefold()])
                self.registry.create_set_share(current, list(params.items()))
        except self._refused as error:
            self.registry.transaction_cancel()
            if current in put and error.args[0] == self._invalid:
                return current
            raise
        except BaseException:
            self.registry.transaction_cancel()
            raise
        self.registry.transaction_commit()
        return None

    def _fault(self, share: str, params: Params) -> Fault:
        """Finds the option that was refused, by trying each in a transaction that is given up."""
        for name, value in params.items():
            self.registry.transaction_start()
            try:
                self.registry.create_set_share(SCRATCH, [(name, value)])
            except self._refused:
                return Fault(
                    "SAMBA_CONFIG_REJECTED",
                    f"share {share}: Samba refuses the option {name!r} or its value",
                    parameter=name,
                )
            finally:
                self.registry.transaction_cancel()
        return Fault("SAMBA_CONFIG_REJECTED", f"share {share}: Samba refuses its options together", parameter="")


def words(params: Params, name: str) -> set[str]:
    return set(params.get(name, "").replace(",", " ").split())


def lowered(before: Params, after: Params) -> bool:
    """Whether somebody may lose rights while keeping others."""
    if any(before.get(name, "") != after.get(name, "") for name in BINDING):
        return True
    if after.get("server smb encrypt") == "required" != before.get("server smb encrypt"):
        return True
    return any(words(before, name) - words(after, name) for name in ("write list", "admin users"))


# The operations


def accounts_files(request: Answer) -> None:
    for part in ("passwd", "group"):
        put_file(request[part]["path"], request[part]["text"], 0o644)


def configure(request: Answer) -> Answer:
    """Directories, account files, smb.conf. The file is put in place only if testparm(1) finds no fault in it and gives
    back the values that were meant."""
    for path, mode in request["directories"]:
        if not os.path.isdir(path):
            os.makedirs(path, 0o755, exist_ok=True)
            os.chmod(path, mode)
    probe = request["probe_directory"]
    os.makedirs(probe["path"], 0o700, exist_ok=True)
    os.chown(probe["path"], probe["uid"], probe["uid"])
    with locked(request["lock_dir"], os.getppid()) if request["lock_is_new"] else contextlib.nullcontext():
        accounts_files(request)
        if text_of(request["conf"]) == request["text"]:
            return {"changed": False}
        validate(request)
        put_file(request["conf"], request["text"], 0o644)
    Daemon(request).tell("smbd", "reload-config")
    return {"changed": True}


def validate(request: Answer) -> None:
    candidate = f"{request['conf']}.candidate"
    put_file(candidate, request["check_text"], 0o600)
    try:
        tested = tool("testparm", "-s", "-v", candidate)
    finally:
        os.unlink(candidate)
    for line in tested.stderr.splitlines():
        if SUSPICIOUS.search(line):
            named = re.search(r"""parameter '([^']+)'|"([^"]+)\"""", line)
            parameter = (named[1] or named[2]) if named else ""
            raise Fault("SAMBA_CONFIG_REJECTED", f"testparm: {line.strip()}", parameter=parameter)
    if tested.returncode != 0:
        raise Fault("SAMBA_CONFIG_REJECTED", f"testparm ends with {tested.returncode}", parameter="")
    shown = tested.stdout.partition("[global]")[2].partition("\n[")[0]
    pairs = (line.partition(" = ") for line in shown.splitlines())
    read = {name.strip().lower(): value.strip() for name, _, value in pairs}
    for name, value in request["parameters"].items():
        if plain(read.get(name, "")) != plain(value):
            raise Fault("SAMBA_CONFIG_REJECTED", f"{name} = {value} is read as {read.get(name, '')!r}", parameter=name)


def plain(value: str) -> list[str] | bool:
    """A value without regard to case, to its synonyms, and to how a list is divided."""
    text = SAME.get(value.casefold(), value.casefold())
    return True if text in TRUE else False if text in FALSE else text.replace(",", " ").split()


def apply(request: Answer) -> Answer:
    """Accounts, directories, registry, sessions, in this order. An error of one user or share is its own."""
    accounts_files(request)
    samba, daemon, roots = Samba(request["conf"]), Daemon(request), request["roots"]
    probe = request["probe"]
    if probe["force"] or samba.account(probe["name"]) is None:
        samba.set_account(probe["name"], probe["password"], False)
    if request["known_users"] is not None:
        for name in samba.accounts().keys() - set(request["known_users"]):
            samba.drop_account(name)
    answer: Answer = {"users": {}, "shares": {}}
    for user in request["users"]:
        answer["users"][user["name"]] = attempt(
            partial(samba.set_account, user["name"], user["password"], user["disabled"])
        )
    for share in request["shares"]:
        answer["shares"][share["name"]] = attempt(partial(make_directory, share["directory"], roots))
    shares = {share["name"]: share for share in request["shares"] if "error" not in answer["shares"][share["name"]]}
    apply_shares(request, samba, daemon, shares, answer)
    for name, share in shares.items():
        if "error" not in answer["shares"][name] and (problem := check_directory(share["directory"], roots)):
            answer["shares"][name] = {"error": Fault("PATH_UNSUITABLE", problem).answer}
    daemon.end_sessions(
        {u["name"] for u in request["users"] if u["end_sessions"] and "error" not in answer["users"][u["name"]]}
    )
    return answer


def apply_shares(request: Answer, samba: Samba, daemon: Daemon, shares: Answer, answer: Answer) -> None:
    """The registry, and what open connections have to lose. When everything is known, what is not wanted goes too."""
    wanted = {name: share["params"] for name, share in shares.items()} | request["probes"]
    unwanted: list[str] = []
    if request["known_shares"] is not None:
        keep = {name.casefold() for name in (*request["probes"], *request["known_shares"])}
        unwanted = [name for folded, name in samba.names().items() if folded not in keep]
    before, faults = samba.change(wanted, unwanted)
    for name, fault in faults.items():
        if name in request["probes"]:
            raise fault
        answer["shares"][name] = {"error": fault.answer}
    changed = {name: params for name, params in before.items() if params and name not in faults}
    cut = [name for name, params in changed.items() if lowered(params, wanted[name])]
    daemon.close([*cut, *unwanted])
    daemon.close([name for name in changed if name not in cut], "close-denied-share")


def attempt(action: Callable[[], Answer | None]) -> Answer:
    try:
        return action() or {}
    except Fault as fault:
        return {"error": fault.answer}
    except OSError as error:
        return {"error": fault_of(error, error.filename if isinstance(error.filename, str) else "the directory").answer}


def remove(request: Answer) -> Answer:
    """Takes shares and users away. What may not be removed with its data keeps running."""
    roots, shares = request["roots"], {share["name"]: share for share in request["shares"]}
    answer: Answer = {"users": {user: {} for user in request["users"]}, "shares": {}}
    for name, share in shares.items():
        answer["shares"][name] = attempt(partial(remove_directory, share["directory"], roots, really=False))
    shares = {name: share for name, share in shares.items() if "error" not in answer["shares"][name]}
    daemon = Daemon(request)
    if os.path.exists(request["conf"]):
        samba = Samba(request["conf"])
        names = samba.names()
        ours = [
            n
            for n, s in shares.items()
            if n.casefold() in names and owned(samba.section(names[n.casefold()]), s["directory"]["uid"])
        ]
        samba.change({}, ours)
        daemon.close(list(shares))
        for user in request["users"]:
            samba.drop_account(user)
        # While passwd(5) has the users still: smbstatus(1) knows them by its names.
        daemon.end_sessions(set(request["users"]))
        if not request["whole"]:
            accounts_files(request)
    for name, share in shares.items():
        answer["shares"][name] = attempt(partial(remove_directory, share["directory"], roots, really=True))
    return answer


def owned(section: Params, uid: str) -> bool:
    return section.get("pvesmb:uid", uid) == uid


def observe(request: Answer) -> Answer:
    """Everything that can differ, as it is; compared by whoever asked."""
    answer: Answer = {"conf": text_of(request["conf"]), "runs": Daemon(request).runs, "accounts": {}, "sections": {}}
    answer["files"] = {part: text_of(request[part]["path"]) == request[part]["text"] for part in ("passwd", "group")}
    if answer["conf"] is not None and os.path.isdir(request["lock_dir"]):
        samba = Samba(request["conf"])
        answer["accounts"] = samba.accounts()
        answer["sections"] = {name: samba.section(name) for name in samba.registry.share_names()}
    answer["directories"] = {d["name"]: check_directory(d, request["roots"]) for d in request["checks"]}
    return answer


def main() -> None:
    parent = os.getppid()
    # Samba writes to standard output now and then: the answer has it alone.
    output = os.dup(1)
    os.dup2(2, 1)
    os.umask(0o022)
    request = json.load(sys.stdin)
    operation = {"configure": configure, "apply": apply, "remove": remove, "observe": observe}[request["op"]]
    request["lock_is_new"] = not os.path.isdir(request["lock_dir"])
    try:
        with locked(request["lock_dir"], parent):
            answer = operation(request)
    except Fault as fault:
        answer = {"error": fault.answer}
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        answer = {"error": fault_of(error, "the instance's directory").answer}
    with os.fdopen(output, "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
