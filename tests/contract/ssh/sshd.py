"""A real sshd with nothing of the system's configuration, in a pid namespace of its own: what it starts ends with it."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.waiting import until

_CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {place}/host_key
AuthorizedKeysFile {place}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
PasswordAuthentication no
PrintMotd no
SetEnv BASH_ENV={place}/noise
{more}
"""
#: Without PAM sshd lets nobody in whose account is locked, as root's is on some machines; and what root's shell does at its
#: start is another thing on each.
_START = """for file in passwd shadow; do mount --bind "$1/$file" /etc/$file || exit; done
exec /usr/sbin/sshd -D -e -f "$1/config\""""


@dataclass
class Sshd:
    place: Path
    port: int = 0
    more: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def prepare(self, public_line: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.new_host_key()
        (self.place / "authorized_keys").write_text(f"{public_line}\n")
        (self.place / "shadow").write_text("root:*:19000:0:99999:7:::\nsshd:*:19000::::::\n")
        others = [line for line in Path("/etc/passwd").read_text().splitlines(True) if not line.startswith("root:")]
        (self.place / "passwd").write_text("".join([f"root:x:0:0:root:{self.place}:/bin/bash\n", *others]))
        # A login shell that prints what nobody has asked for.
        (self.place / "noise").write_text("echo noise; echo noise >&2\n")

    def new_host_key(self, kind: str = "ed25519") -> str:
        """The line of the public part; counts from the next start."""
        key = self.place / "host_key"
        key.unlink(missing_ok=True)
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(key)], check=True)
        return " ".join(Path(f"{key}.pub").read_text().split()[:2])

    def start(self) -> None:
        os.makedirs("/run/sshd", exist_ok=True)
        (self.place / "config").write_text(_CONFIG.format(place=self.place, port=self.port, more=self.more))
        with (self.place / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", _START, "-", str(self.place)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        until(self._greets, "sshd answers")

    def stop(self) -> None:
        """As if the power went: nothing says goodbye, but for the kernel."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        return (self.place / "log").read_text()

    def _greets(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False
