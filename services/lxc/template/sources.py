"""Where packages come from: the machine's own apt sources, rewritten for the wanted release.

A machine behind a mirror or proxy builds with what it uses itself. One that names no source of Debian leaves the choice to
mmdebstrap, which knows Debian's public mirror.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

_POCKETS = ("", "-updates", "-security")
#: How the machine reaches its mirrors, and what it expects of them; the rest of its apt is its own affair.
_CARRIED = re.compile(r"^Acquire::(http|https|Retries|Check-Date|Check-Valid-Until)\b", re.IGNORECASE)


def machine_codename(os_release: Path = Path("/etc/os-release")) -> str:
    """The suite that this machine runs (`bookworm`), empty if it does not say."""
    found = (
        re.search(r'^VERSION_CODENAME="?([a-z]+)"?$', os_release.read_text(), re.MULTILINE) if os_release.exists() else None
    )
    return found[1] if found else ""


def debian_sources(suite: str, codename: str, apt: Path = Path("/etc/apt")) -> str:
    """One-line entries for `suite`, from the entries of `apt` for the machine's own `codename`; empty if there are none."""
    wanted = {f"{codename}{pocket}": f"{suite}{pocket}" for pocket in _POCKETS} if codename else {}
    lines: dict[str, None] = {}
    for options, uri, name, components in _entries(apt):
        if name in wanted and "main" in components:
            lines[" ".join(filter(None, ("deb", options, uri, wanted[name], "main")))] = None
    return "".join(f"{line}\n" for line in lines)


def apt_settings() -> str:
    """What of the machine's apt.conf the build needs to reach the mirrors."""
    done = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True)
    return "".join(f"{line}\n" for line in done.stdout.splitlines() if _CARRIED.match(line))


def _entries(apt: Path) -> Iterator[tuple[str, str, str, list[str]]]:
    """Options (as the one-line style wants them), URI, suite and components of every binary source."""
    for file in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if file.suffix == ".list" and file.is_file():
            yield from _one_line(file.read_text())
        elif file.suffix == ".sources" and file.is_file():
            yield from _deb822(file.read_text())


def _one_line(text: str) -> Iterator[tuple[str, str, str, list[str]]]:
    for line in text.splitlines():
        found = re.match(r"\s*deb\s+(?:\[([^]]*)]\s+)?(\S+)\s+(\S+)\s+([^#]+)", line)
        if found:
            yield _signed_by(found[1] or ""), found[2], found[3], found[4].split()


def _signed_by(options: str) -> str:
    found = re.search(r"signed-by=(\S+)", options, re.IGNORECASE)
    return f"[signed-by={found[1]}]" if found else ""


def _deb822(text: str) -> Iterator[tuple[str, str, str, list[str]]]:
    plain = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n\s*\n", plain):
        fields = {
            key.lower(): value.strip()
            for key, value in re.findall(r"^([A-Za-z-]+):((?:.*\n?(?: .*\n?)*))", stanza, re.MULTILINE)
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() == "no":
            continue
        key = fields.get("signed-by", "")
        options = f"[signed-by={key}]" if key.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield options, uri, suite, fields.get("components", "").split()
