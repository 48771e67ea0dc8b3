"""A small backend process: `python -m tests.unit.kit.process SOCKET LISTEN…`, for tests of signals and of being killed."""

from __future__ import annotations

import sys
from pathlib import Path

from services.kit import config, logging, metrics
from services.kit.config import ServerConfig
from services.kit.policy import ROLES
from services.kit.server import serve
from tests.unit.kit import echo


def main() -> int:
    marks, *listen = sys.argv[1:]
    logging.setup("echo", "info")
    service = echo.Echo()

    def mark(name: str) -> None:
        Path(marks, name).touch()

    settings = ServerConfig(listen=listen, insecure_loopback=True, drain_seconds=60)
    return serve(
        "echo",
        settings,
        register=service.add_to,
        checks={},
        registry=metrics.make_registry("echo"),
        roles={**ROLES, **echo.ROLES},
        on_ready=lambda: mark("ready"),
        on_drain=service.release.set if "release" in marks else lambda: mark("draining"),
        on_stop=lambda: mark("stopped"),
    )


if __name__ == "__main__":
    sys.exit(config.run(main))
