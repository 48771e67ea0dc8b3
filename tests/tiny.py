"""The smallest container: one program, which brings up its interfaces and waits to be told to end."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

BUSYBOX = "/bin/busybox"
_INIT = """#!/bin/sh
trap 'exit 0' PWR
while read -r key value rest; do
  case $key in
    iface) device=$value; [ "$rest" = "inet dhcp" ] && udhcpc -q -n -T 1 -t 20 -i "$device" -s /bin/bound;;
    address) ip address add "$value" dev "$device";;
  esac
done < /etc/network/interfaces
while :; do sleep 1 & wait $!; done
"""
#: What udhcpc calls with an address.
_BOUND = '#!/bin/sh\n[ "$1" != bound ] || ip address add "$ip/$mask" dev "$interface"\n'
#: Debian's busybox has none of its own.
_CHPASSWD = "#!/bin/sh\ncat > /root/was-set\n"
_APPLETS = ("sh", "sleep", "ip", "mkdir", "chmod", "mv", "rm", "cat", "df", "true", "udhcpc")
_DIRECTORIES = ("bin", "sbin", "etc", "etc/network", "proc", "sys", "dev", "root", "run", "tmp", "var")


def tiny_template(file: Path, passwd: str = "root:x:0:0::/root:/bin/sh\n") -> None:
    """Writes it, as a template that a node takes: `NAME.tar.gz`. Needs Debian's busybox-static."""
    with tarfile.open(file, "w:gz", compresslevel=1) as tar:
        for name in _DIRECTORIES:
            _add(tar, name, tarfile.DIRTYPE)
        tar.add(BUSYBOX, "./bin/busybox", filter=_as_root)
        for name in _APPLETS:
            _add(tar, f"bin/{name}", tarfile.SYMTYPE, link="busybox")
        for name, text in (("sbin/init", _INIT), ("bin/bound", _BOUND), ("bin/chpasswd", _CHPASSWD)):
            _add(tar, name, tarfile.REGTYPE, text)
        _add(tar, "etc/passwd", tarfile.REGTYPE, passwd)


def _add(tar: tarfile.TarFile, name: str, kind: bytes, text: str = "", link: str = "") -> None:
    entry = tarfile.TarInfo(f"./{name}")
    entry.type, entry.linkname, entry.mode, entry.size = kind, link, 0o755, len(text)
    tar.addfile(entry, io.BytesIO(text.encode()))


def _as_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.mode = 0o755
    return entry
