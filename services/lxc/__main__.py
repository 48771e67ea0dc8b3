"""The LXC backend: `python -m services.lxc --config FILE`. Composition only."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pvesmb.v1 import backend_pb2

from services.core.steps import Mode
from services.kit import config, logging
from services.lxc.config import LxcConfig
from services.lxc.guests import SshGuests
from services.lxc.mode import LxcMode
from services.lxc.template_mode import TemplateMode
from services.lxc.templates import newest_template
from services.proxmox.session import Session
from services.wire.backend import open_base, serve_mode


def main(argv: Sequence[str] | None = None, *, wrap: Callable[[Mode], Mode] = lambda mode: mode) -> int:
    """Runs until SIGTERM. `wrap` lets a test put something around the mode that the worker runs."""
    parser = argparse.ArgumentParser(prog="services.lxc", description=__doc__)
    parser.add_argument("--config", metavar="FILE", help="TOML file; keys and defaults: services/lxc/config.py")
    arguments = parser.parse_args(argv)
    settings = config.load(LxcConfig, arguments.config, "PVESMB_LXC_")
    logging.setup("lxc", settings.log_level)
    os.umask(0o077)
    os.makedirs(settings.state_dir, mode=0o700, exist_ok=True)
    return run(settings, wrap)


def run(settings: LxcConfig, wrap: Callable[[Mode], Mode]) -> int:
    api = Session(settings.endpoint, settings.api_token())
    password = settings.password()
    root = Session(settings.endpoint, password) if password is not None else None
    base = open_base("lxc", settings)
    guests = SshGuests(base.claims, base.vault)
    chosen = settings.settings()
    lxc = LxcMode(chosen, api, base.claims, guests, newest_template(chosen, api), base.probe_secret, root)

    templates = TemplateMode(chosen, api, base.claims, Path(settings.state_dir) / "templates")

    def close() -> None:
        guests.close()
        for session in (api, root):
            if session is not None:
                session.close()

    mode = backend_pb2.Backend.MODE_LXC
    return serve_mode("lxc", settings, base, lxc, mode, node=settings.node, wrap=wrap, close=close, templates=templates)


if __name__ == "__main__":
    sys.exit(config.run(main))
