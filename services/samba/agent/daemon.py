"""The running smbd."""

from __future__ import annotations

import contextlib
import json
import os

from services.samba.agent.common import Answer, Fault, tool, wait


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

    def close(self, names: list[str]) -> None:
        """Cuts the connections to these shares (to all, if `*` is named), and waits until they are cut."""
        for name in names:
            self.tell("smbd", "close-share", name)
        if names:
            wait(lambda: not self._connected({name.casefold() for name in names}), "shares to close")

    def close_denied(self, names: list[str]) -> None:
        """Cuts the connections of those who may not use these shares any more."""
        for name in names:
            self.tell("smbd", "close-denied-share", name)

    def _connected(self, names: set[str]) -> bool:
        used = {row["service"].casefold() for row in self.status("-S").get("tcons", {}).values()}
        return bool(used - {"ipc$"} if "*" in names else used & names)
