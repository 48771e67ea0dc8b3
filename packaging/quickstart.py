"""Makes `docs/quickstart.md` and `docs/quickstart-lxc.md`: runs a session for real and writes down what was said and
answered.

`python -m packaging.quickstart --mode MODE --write FILE`. What differs from run to run (paths, ids, times) is written as a
placeholder, so that a test can run the session again and compare every line.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CLONE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Passage:
    """Some prose and the commands below it, each one line of bash."""

    title: str
    prose: str
    commands: Sequence[str]


_NATIVE = (
    Passage(
        "From nothing to a share",
        "As root, in the clone. `make run` sets everything up and starts gateway, native backend and a private smbd;\n"
        "`DETACH=1` gives the shell back when they are ready.",
        ["make --no-print-directory run DETACH=1", "alias pvesmb=.venv/bin/pvesmb", "pvesmb share list"],
    ),
    Passage(
        "A share with a size",
        "Its size is its quota: the share is a volume of its own.",
        ["pvesmb share create projects --size 1GiB --user demo --comment 'Current projects'", "pvesmb share list"],
    ),
    Passage(
        "A client writes and reads",
        "Any SMB client will do; this one reads the password from its environment.",
        [
            "export PASSWD=$(cat $STATE/etc/demo.password)",
            "echo 'made on Monday' > /tmp/pvesmb-plan.txt",
            "smbclient //127.0.0.1/projects -p $SMB_PORT -U demo -c 'put /tmp/pvesmb-plan.txt plan.txt'",
            "smbclient //127.0.0.1/projects -p $SMB_PORT -U demo -c 'get plan.txt /tmp/pvesmb-back.txt'",
            "cat /tmp/pvesmb-back.txt",
        ],
    ),
    Passage(
        "The backend is killed while ten shares are made",
        "Ten creates are sent off, and the backend is killed with SIGKILL. The client repeats its request, with the\n"
        "same request id, until a backend is there; operations that were under way are taken up where the world stands.",
        [
            "for i in 0 1 2 3 4 5 6 7 8 9; do pvesmb share create native/files/batch$i --user demo >/dev/null & done;"
            " sleep 1;"
            " kill -9 $(cat $STATE/run/native.pid); wait",
            "pvesmb share list",
            "smbclient //127.0.0.1/batch7 -p $SMB_PORT -U demo -c 'put /tmp/pvesmb-plan.txt plan.txt'",
            "cat $STATE/data/files/batch7/plan.txt",
        ],
    ),
    Passage(
        "The end",
        "Deleting a share keeps its files unless `--delete-data` is given. State survives `make stop`.",
        ["pvesmb share delete projects --delete-data --yes", "pvesmb share list", "make --no-print-directory stop"],
    ),
)

_INSIDE = "ip netns exec $NETNS smbclient //$SMB_ADDRESS"
_LXC = (
    Passage(
        "From nothing to a share in a container",
        "As root, in the clone, on a machine without Proxmox VE. `make run MODE=lxc` builds a container template once,\n"
        "which takes a minute or two and a way to Debian's mirrors; then it starts gateway, LXC backend and a stand-in\n"
        "for a Proxmox VE node with real containers, all in a network namespace of its own.",
        ["make --no-print-directory run MODE=lxc DETACH=1", "alias pvesmb=.venv/bin/pvesmb", "pvesmb share list"],
    ),
    Passage(
        "What the node has",
        "`make guests` lists its containers, as `pct list` does on a real one, with their volumes. The template was\n"
        "brought there through the same API.",
        ["make --no-print-directory guests", "pvesmb template list"],
    ),
    Passage(
        "A share with a size, which grows",
        "Each share is a volume of its own, and its size is its quota. A running container takes a volume on, and lets it\n"
        "grow.",
        [
            "pvesmb share create projects --size 512MiB --user demo --comment 'Current projects'",
            "pvesmb share update projects --size 640MiB > /dev/null",
            "pvesmb share list",
        ],
    ),
    Passage(
        "A client writes, up to the limit",
        "The containers' network is in the namespace, and so is the client. What does not fit is refused as a full disk.",
        [
            "export PASSWD=$(cat $STATE/lxc/etc/demo.password)",
            "echo 'made on Monday' > /tmp/pvesmb-plan.txt",
            f"{_INSIDE}/projects -U demo -c 'put /tmp/pvesmb-plan.txt plan.txt'",
            f"{_INSIDE}/projects -U demo -c 'get plan.txt /tmp/pvesmb-back.txt'",
            "cat /tmp/pvesmb-back.txt",
            "truncate -s 700M /tmp/pvesmb-big.bin",
            f"{_INSIDE}/projects -U demo -c 'put /tmp/pvesmb-big.bin big.bin' 2>&1 | grep -o -m 1 NT_STATUS_DISK_FULL",
            f"{_INSIDE}/projects -U demo -c 'rm big.bin'; rm /tmp/pvesmb-big.bin",
        ],
    ),
    Passage(
        "The backend is killed while shares are made",
        "The client repeats its request, with the same request id, until the backend is there again.",
        [
            "for i in 0 1 2; do pvesmb share create lxc/files/batch$i --user demo >/dev/null & done; sleep 0.5;"
            " kill -9 $(cat $STATE/lxc/run/lxc.pid); wait",
            "pvesmb share create lxc/files/later --user demo > /dev/null",
            "pvesmb share list",
            f"{_INSIDE}/batch2 -U demo -c 'put /tmp/pvesmb-plan.txt plan.txt'",
        ],
    ),
    Passage(
        "The end",
        "A file server is deleted with its container and all its volumes, so `--delete-data` has to be given. State\n"
        "survives `make stop`; containers, mounts and the network namespace do not.",
        [
            "make --no-print-directory guests",
            "pvesmb server delete lxc/files --force --delete-data --yes",
            "make --no-print-directory guests",
            "make --no-print-directory stop",
        ],
    ),
)

#: By mode.
SESSIONS: Mapping[str, Sequence[Passage]] = {"native": _NATIVE, "lxc": _LXC}

_MASKS = (
    (re.compile(r"10\.98\.0\.\d+"), "10.98.0.100"),
    (re.compile(r"pvesmb-q-\d+"), "pvesmb"),
    (re.compile(r"(/srv/pvesmb/|pvesmb-debian-12-)[0-9a-f]{12}"), r"\g<1>0123456789ab"),
    (re.compile(r"\d+\.\d MiB"), "71.1 MiB"),
    (re.compile(r"PVESMB_CONFIG=\S+ "), ""),  # said only because the session's state is not in the clone
    (re.compile(r"127\.0\.0\.1:\d+/"), "127.0.0.1:4450/"),
    (re.compile(r"gateway=127\.0\.0\.1:\d+"), "gateway=127.0.0.1:7443"),
    (re.compile(r" -p (?!445\b)\d+"), " -p 4450"),
    (re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"), "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee"),
    (re.compile(r"^(etag: +)[0-9a-f]{16}", re.M), r"\g<1>0123456789abcdef"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "2026-11-23 12:00:00"),
    (re.compile(r"\((?:average )?[\d.]+ [A-Za-z]+/s(?:ec)?\)"), "(…)"),
)


def run(state: Path, mode: str) -> str:
    """Runs the session with its state there, and gives the document. RuntimeError if a command fails."""
    environment = {**os.environ, "STATE": str(state), "PVESMB_CONFIG": str(state / "client.toml"), "COLUMNS": "120"}
    if mode == "lxc":
        environment["NETNS"] = f"pvesmb-q-{os.getpid()}"
    with subprocess.Popen(
        ["bash", "--norc", "-O", "expand_aliases"],
        cwd=CLONE,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        title = {"native": "Quickstart", "lxc": "Quickstart in LXC mode"}[mode]
        text = [f"# {title}", "", "Made by `make quickstart`, which runs what it shows; the tests run it too.", ""]
        try:
            for passage in SESSIONS[mode]:
                text += [f"## {passage.title}", "", passage.prose, "", "```console"]
                for command in passage.commands:
                    output = _say(shell, command)
                    share = re.search(r"share=//([\d.]+):(\d+)/", output)
                    if share:
                        _say(shell, f"SMB_ADDRESS={share[1]} SMB_PORT={share[2]}")
                    shown = command.replace("$STATE", "var").replace("$SMB_PORT", "4450")
                    shown = shown.replace("$NETNS", "pvesmb").replace("$SMB_ADDRESS", "10.98.0.100")
                    text += [f"# {shown}", *_masked(output, state)]
                text += ["```", ""]
        finally:
            shell.stdin.close()
            subprocess.run(["make", "stop"], cwd=CLONE, env=environment, capture_output=True, check=True)
    return "\n".join(text)


def _say(shell: subprocess.Popen[str], command: str) -> str:
    """What the shell answers to one command, which must succeed."""
    assert shell.stdin is not None
    assert shell.stdout is not None
    end = f"end-{os.urandom(8).hex()}"
    shell.stdin.write(f"{command}\necho {end} $?\n")
    shell.stdin.flush()
    lines: list[str] = []
    for line in shell.stdout:
        if line.startswith(end):
            if line.split()[1] != "0":
                raise RuntimeError(f"{command}: status {line.split()[1]}\n{''.join(lines)}")
            return "".join(lines)
        lines.append(line)
    raise RuntimeError(f"{command}: the shell ended\n{''.join(lines)}")


def _masked(output: str, state: Path) -> list[str]:
    """The answer without what differs from run to run. A path keeps its width, so that tables stay tables."""
    for place in (os.path.relpath(state, CLONE), str(state)):
        in_table = re.compile(re.escape(place) + r"(\S*)(?=  )")
        output = in_table.sub(_shortened, output).replace(place, "var")
    for pattern, placeholder in _MASKS:
        output = pattern.sub(placeholder, output)
    return [line.rstrip() for line in output.splitlines()]


def _shortened(path: re.Match[str]) -> str:
    return f"var{path[1]}".ljust(len(path[0]))


def main() -> None:
    parser = argparse.ArgumentParser(prog="quickstart", description=__doc__)
    parser.add_argument("--mode", choices=list(SESSIONS), default="native", help="default: native")
    parser.add_argument("--write", type=Path, required=True, help="the document")
    arguments = parser.parse_args()
    base = tempfile.mkdtemp(prefix="pvesmb-q-")
    try:
        os.chmod(base, 0o755)
        document = run(Path(base) / "var", arguments.mode)
    finally:
        subprocess.run(["chattr", "-R", "-f", "-i", base], check=False)  # the empty mount points of volumes
        subprocess.run(["rm", "-rf", "--one-file-system", base], check=True)
    arguments.write.write_text(document)


if __name__ == "__main__":
    main()
