"""What native mode needs of its node, looked at before work is taken."""

from __future__ import annotations

import os
import shutil
import stat
import time

from services.core.domain.resource import Condition, Severity
from services.core.errors import HostNotPrepared
from services.core.ports import Host
from services.native.children import ENVIRONMENT
from services.native.settings import NSS_WRAPPER, NativeSettings

#: Program and the Debian package that has it.
PROGRAMS = {
    "smbd": "samba",
    "testparm": "samba-common-bin",
    "smbcontrol": "samba-common-bin",
    "smbstatus": "samba-common-bin",
    "pdbedit": "samba-common-bin",
}
VOLUME_PROGRAMS = {"mkfs.xfs": "xfsprogs", "xfs_growfs": "xfsprogs", "losetup": "mount", "mount": "mount"}


def preflight(settings: NativeSettings, host: Host, path: str = ENVIRONMENT["PATH"]) -> list[Condition]:
    """What is missing, each with what to do; errors where no file server could be made, warnings where something less
    would not work."""
    found = [_missing(name, package, Severity.ERROR) for name, package in PROGRAMS.items() if not has(name, path)]
    found += [_missing(name, package, Severity.WARNING) for name, package in VOLUME_PROGRAMS.items() if not has(name, path)]
    if os.geteuid() != 0:
        message = "the service does not run as root, which smbd and mounts need"
        found.append(_condition("NotRoot", "NOT_ROOT", message, "Start it as root, best by its systemd unit."))
    if host.run(["env", f"LD_PRELOAD={NSS_WRAPPER}", "true"]).stderr:
        found.append(_missing(NSS_WRAPPER, "libnss-wrapper", Severity.ERROR))
    if not _has_binding(host):
        found.append(_missing("python3-samba", "python3-samba", Severity.ERROR))
    for root in settings.roots:
        if not os.path.isdir(root):
            message = f"{root}, where shares shall lie, is missing"
            action = f"Mount its storage, or make it: mkdir -p -m 755 {root}"
            found.append(_condition("PathMissing", "PATH_MISSING", message, action))
    closed = [path for root in (*settings.roots, settings.state_dir) for path in closed_directories(root)]
    found += [
        _condition("PathClosed", "PATH_CLOSED", f"users of shares cannot get through {path}", f"chmod o+x {path}")
        for path in dict.fromkeys(closed)
    ]
    return found


def has(program: str, path: str = ENVIRONMENT["PATH"]) -> bool:
    """Whether commands of ours would find it."""
    return shutil.which(program, path=path) is not None


def closed_directories(path: str) -> list[str]:
    """The directory and those above it which not everybody may pass, as far as they exist."""
    closed = []
    while True:
        if os.path.isdir(path) and not os.stat(path).st_mode & stat.S_IXOTH:
            closed.append(path)
        if (parent := os.path.dirname(path)) == path:
            return closed[::-1]
        path = parent


def _has_binding(host: Host) -> bool:
    """Samba's Python modules load only in the distribution's interpreter."""
    try:
        return host.run(["/usr/bin/python3", "-c", "from samba.samba3 import param, smbconf, passdb"]).returncode == 0
    except HostNotPrepared:
        return False


def _missing(name: str, package: str, severity: Severity) -> Condition:
    action = f"apt-get install {package}"
    return _condition("HostNotPrepared", "HOST_NOT_PREPARED", f"{name} is missing on this host", action, severity)


def _condition(type: str, reason: str, message: str, action: str, severity: Severity = Severity.ERROR) -> Condition:
    return Condition(type, severity, reason, message, action, time.time())
