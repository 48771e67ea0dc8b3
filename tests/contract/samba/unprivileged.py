"""An instance that runs as in an unprivileged container: its root is an ordinary id outside, without rights there."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from services.lxc.settings import LAYOUT
from services.samba.layout import Layout
from tests.contract.samba.lab import ENVIRONMENT, Lab, RecordingHost, make_base, remove_base

#: More than a container has, because the accounts of these tests have high numbers.
COUNT = 1_000_000
#: PVE::Storage::Plugin::COMMON_TAR_FLAGS (proxmox/pve-storage); vzdump(1) and the restore run tar with them inside of the
#: container's user namespace (`lxc-usernsexec … tar cpf - --totals …`).
TAR_FLAGS = (
    "--one-file-system", "-p", "--sparse", "--numeric-owner", "--acls", "--xattrs", "--xattrs-include=user.*",
    "--xattrs-include=security.capability", "--warning=no-file-ignored", "--warning=no-xattr-write",
)  # fmt: skip


@dataclass
class InsideHost(RecordingHost):
    """A user namespace whose id 0 is `shift` outside. `keeper` is a process in it."""

    shift: int = 0
    keeper: int = 0

    def entering(self, argv: Sequence[str]) -> list[str]:
        return ["nsenter", f"--user=/proc/{self.keeper}/ns/user", "-S", "0", "-G", "0", "--", *argv]

    def write_file(self, path: str, data: bytes, mode: int = 0o600) -> None:
        super().write_file(path, data, mode)
        os.chown(path, self.shift, self.shift)


@contextlib.contextmanager
def inside(shift: int) -> Iterator[InsideHost]:
    """The namespace as long as the block runs."""
    keeper = subprocess.Popen(
        ["unshare", "--user", "sh", "-c", "echo; read -r _"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT,
    )  # fmt: skip
    with keeper:
        assert keeper.stdout is not None and keeper.stdout.readline() == b"\n"
        for file in ("uid_map", "gid_map"):
            Path(f"/proc/{keeper.pid}/{file}").write_text(f"0 {shift} {COUNT}\n")
        try:
            yield InsideHost(shift=shift, keeper=keeper.pid)
        finally:
            keeper.kill()


class UnprivilegedLab(Lab):
    """See `Lab`. `restore` puts what `backup` has kept into another namespace, at the same place."""

    def __init__(self, base: str, host: InsideHost, site: Mapping[str, str], **smb: Any) -> None:
        super().__init__(base, site, **smb)
        self.recorder = host
        self.files: Layout = replace(self.files, nt_acl_attribute=LAYOUT.nt_acl_attribute)
        for directory in (base, self.data, f"{base}/run"):
            os.chown(directory, host.shift, host.shift)

    def backup(self) -> bytes:
        argv = ["tar", "cf", "-", *TAR_FLAGS, f"--directory={self.base}", "./"]
        return self._tar(argv, b"")

    def restore(self, archive: bytes, host: InsideHost) -> None:
        shutil.rmtree(self.base)
        os.mkdir(self.base, 0o755)
        os.chown(self.base, host.shift, host.shift)
        self.recorder = host
        self._tar(["tar", "xf", "-", *TAR_FLAGS, f"--directory={self.base}"], archive)

    def _tar(self, argv: Sequence[str], data: bytes) -> bytes:
        done = subprocess.run(self.recorder.entering(argv), input=data, capture_output=True, env=ENVIRONMENT)
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextlib.contextmanager
def unprivileged(shift: int, site: Mapping[str, str], **smb: Any) -> Iterator[UnprivilegedLab]:
    base = make_base()
    try:
        with inside(shift) as host:
            lab = UnprivilegedLab(base, host, site, **smb)
            try:
                yield lab
            finally:
                lab.stop()
    finally:
        remove_base(base)
