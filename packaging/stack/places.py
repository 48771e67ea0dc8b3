"""Where the stack of one clone keeps its things."""

from __future__ import annotations

import contextlib
import hashlib
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

#: Longest path of a Unix socket that the kernel takes (sun_path, unix(7)), less what gRPC adds.
MAX_SOCKET = 100


@dataclass(frozen=True)
class Places:
    """Paths below the state directory. `view` is the same directory under a name below which every user may go: smbd
    acts as the user who is connected, and could not reach a share below a closed directory such as /root."""

    state: Path
    #: Directory of the file by which the command line finds the gateway; default: `state`.
    client: Path | None = None

    @property
    def _short(self) -> Path:
        digest = hashlib.sha256(str(self.state).encode()).hexdigest()[:12]
        return Path("/run/pvesmb") / digest

    @property
    def closed(self) -> bool:
        """Whether others cannot enter some directory above the state."""
        return any(not stat.S_IMODE(parent.stat().st_mode) & stat.S_IXOTH for parent in [*self.state.parents])

    @property
    def view(self) -> Path:
        return self._short / "state" if self.closed else self.state

    @property
    def sockets(self) -> Path:
        fits = len(str(self.state / "run" / "gateway.sock")) <= MAX_SOCKET
        return self.state / "run" if fits else self._short / "run"

    @property
    def etc(self) -> Path:
        return self.state / "etc"

    @property
    def logs(self) -> Path:
        return self.state / "log"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def made_netns(self) -> Path:
        """Holds the name of the network namespace, if it was not there before us."""
        return self.run / "netns"

    @property
    def last_netns(self) -> str:
        """The network namespace of the last start; empty before the first."""
        kept = self.run / "last-netns"
        return kept.read_text() if kept.exists() else ""

    @property
    def client_config(self) -> Path:
        """The file by which the command line finds the gateway."""
        return (self.client or self.state) / "client.toml"

    def open(self) -> None:
        """Makes the directories, and the view where one is needed."""
        for path, mode in ((self.state, 0o755), (self.etc, 0o700), (self.logs, 0o700), (self.run, 0o700)):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(mode)
        if self.sockets != self.run:
            self.sockets.mkdir(parents=True, exist_ok=True)
        if self.view != self.state and not _mounted(self.view):
            self.view.mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "--bind", str(self.state), str(self.view)], check=True)

    def close(self) -> None:
        """Takes the view away again, and what of /run/pvesmb is empty then."""
        if self.view != self.state and _mounted(self.view):
            subprocess.run(["umount", str(self.view)], check=True)
        for path in (self._short / "state", self._short / "run", self._short, self._short.parent):
            with contextlib.suppress(OSError):
                path.rmdir()


def _mounted(path: Path) -> bool:
    """Whether something is mounted there. `os.path.ismount` does not see a bind mount within one file system."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return any(line.split()[4] == str(path) for line in mounts)
