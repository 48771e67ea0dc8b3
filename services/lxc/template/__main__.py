"""Builds a container template: `python -m services.lxc.template --out DIR [--debian 12|13]`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from services.core.errors import PvesmbError
from services.lxc.template.build import build
from services.lxc.template.description import DEFAULT_RELEASE, RELEASES, describe


def main(argv: Sequence[str] | None = None) -> int:
    """Shows how far it is on the error output, and prints the file's path."""
    parser = argparse.ArgumentParser(prog="services.lxc.template", description=__doc__)
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True, help="directory for the file; it is kept if there"
    )
    parser.add_argument(
        "--debian", metavar="RELEASE", type=int, choices=list(RELEASES), default=DEFAULT_RELEASE, help="12 or 13"
    )
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    shown = -1

    def show(done: float, text: str) -> None:
        nonlocal shown
        if int(done * 100) != shown:
            shown = int(done * 100)
            print(f"{shown:3} % {text}", file=sys.stderr, flush=True)

    try:
        print(build(describe(arguments.debian), arguments.out, progress=show))
    except PvesmbError as error:
        print(f"{error.message}\n{error.help}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
