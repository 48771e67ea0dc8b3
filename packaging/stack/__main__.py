"""`python -m packaging.stack run|stop`: the whole product on one machine.

Starts a backend and the gateway, makes a first share, says how to reach it, and watches the processes until it is told to
stop. In lxc mode a stand-in for a Proxmox VE node comes with it, and all of it lives in a network namespace. State lies
below one directory and survives a stop.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pvesmb

from packaging.stack import configs, first_share, modes, netns
from packaging.stack.modes import Mode
from packaging.stack.node import LocalNode
from packaging.stack.places import Places
from packaging.stack.processes import Service, running_pid, wait_gone

CLONE = Path(__file__).resolve().parent.parent.parent
MARKER = "packaging.stack run"
#: By the name of the mode.
Stacks = Mapping[str, tuple[Places, Mode]]


def main() -> int:
    arguments = _parse()
    if os.geteuid() != 0:
        print("This needs root: smbd serves files as the user who is connected.", file=sys.stderr)
        return 2
    stacks = all_modes(arguments.state.resolve())
    if arguments.command == "stop":
        return stop(stacks)
    if arguments.command == "guests":
        return guests(stacks["lxc"][0])
    for name, (places, _) in stacks.items():
        if (pid := running_pid(places.run / "stack.pid", MARKER)) is not None:
            print(f"It runs already, in {name} mode (pid {pid}). `make stop` ends it.", file=sys.stderr)
            return 2
    if arguments.mode not in stacks:
        print(f"MODE={arguments.mode} is not part of this version; {' and '.join(stacks)} are.", file=sys.stderr)
        return 2
    places, mode = stacks[arguments.mode]
    if (name := arguments.netns or mode.netns) and not (Path("/run/netns", name).exists() and netns.inside(name)):
        enter(places, mode, name)
    if arguments.detach:
        return detach(places, sys.argv[1:])
    return run(places, modes.of(arguments.mode, places, name or "-"), name or "-")


def all_modes(state: Path) -> Stacks:
    """Where each mode has its things, in one state directory; in the network namespace of its last start."""
    found = {}
    for name in modes.NAMES:
        places = Places(state) if name == "native" else Places(state / name, state)
        found[name] = (places, modes.of(name, places, places.last_netns))
    return found


def enter(places: Places, mode: Mode, namespace: str) -> NoReturn:
    """Starts again in the namespace."""
    mode.prepare()
    made = netns.ensure(namespace)
    places.run.mkdir(parents=True, exist_ok=True)
    if made:
        places.made_netns.write_text(namespace)
    command = netns.command(namespace, [sys.executable, "-m", MARKER.split()[0], *sys.argv[1:]])
    os.execvp(command[0], command)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("run")
    starting.add_argument("--detach", action="store_true", help="return when ready")
    starting.add_argument("--mode", choices=["native", "lxc", "vm"], default="native")
    starting.add_argument("--netns", default="", help="network namespace to run in, made if absent")
    stopping = commands.add_parser("stop")
    listing = commands.add_parser("guests", help="containers of the stand-in node, as `pct list` shows them")
    for command in (starting, stopping, listing):
        command.add_argument("--state", type=Path, default=CLONE / "var", help="directory of all state")
    return parser.parse_args()


def detach(places: Places, argv: list[str]) -> int:
    """Starts another of this program in the background, and returns when that one is ready or has failed."""
    places.open()
    rest = [argument for argument in argv if argument != "--detach"]
    with open(places.logs / "stack.log", "ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", "packaging.stack", *rest],
            cwd=CLONE,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
            text=True,
        )
        assert child.stdout is not None
        ready = False
        for line in child.stdout:
            if line == "\n" and ready:
                return 0
            print(line, end="", flush=True)
            ready = ready or line.startswith("READY ")
    child.wait()
    tail = (places.logs / "stack.log").read_text(errors="replace").splitlines()[-20:]
    print("\n".join(tail), file=sys.stderr)
    return 1


def run(places: Places, mode: Mode, namespace: str) -> int:
    """Runs until SIGINT or SIGTERM."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    places.open()
    (places.run / "stack.pid").write_text(f"{os.getpid()}\n")
    (places.run / "last-netns").write_text(namespace)
    python = [sys.executable, "-m"]
    started: list[Service] = []
    try:
        mode.open()
        settings = configs.write(places, mode)
        service = _service(places, mode.name, [*python, f"services.{mode.name}", "--config", str(settings.service)])
        gateway = _service(places, "gateway", [*python, "gateway", "--config", str(settings.gateway)])
        for each in (service, gateway):
            each.start()
            started.append(each)
            each.wait_ready(60)
        port = 445 if namespace != "-" else 0
        share = first_share.ensure(f"unix:{gateway.socket}", mode, places.etc / "demo.password", port=port)
        _say(places, settings.address, share, namespace)
        while not stopping.wait(0.2):
            mode.look()
            for each in started:
                each.look()
    except (RuntimeError, pvesmb.PvesmbError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        for each in reversed(started):
            each.stop()
        finish(places, mode)
    return 0


def finish(places: Places, mode: Mode) -> None:
    """Ends whatever is left, also after processes that could not do it themselves because they were killed."""
    mode.finish(places.etc / f"{mode.name}.toml")
    places.close()
    if places.made_netns.exists():
        netns.remove(places.made_netns.read_text())
        places.made_netns.unlink()
    (places.run / "stack.pid").unlink(missing_ok=True)


def _service(places: Places, name: str, argv: list[str]) -> Service:
    return Service(name, argv, places.sockets / f"{name}.sock", places.logs / f"{name}.log", places.run / f"{name}.pid")


def _say(places: Places, address: str, share: first_share.FirstShare, namespace: str) -> None:
    """The line for scripts, then what to try next."""
    print(
        f"READY gateway={address} share=//{share.address}:{share.port}/{first_share.SHARE} user={first_share.USER}"
        f" password-file={share.password_file} netns={namespace}"
    )
    inside = f"ip netns exec {namespace} " if namespace != "-" else ""
    cli = os.path.relpath(CLONE / ".venv" / "bin" / "pvesmb")
    if places.client_config.parent != CLONE / "var":  # where the command line looks by itself
        cli = f"PVESMB_CONFIG={places.client_config} {cli}"
    password = f"$(cat {os.path.relpath(share.password_file)})"
    print("Try next:")
    print(f"  {cli} share list")
    print(f"  {cli} share create projects --size 1GiB --user {first_share.USER}")
    print(
        f'  PASSWD="{password}" {inside}smbclient //{share.address}/{first_share.SHARE} -p {share.port}'
        f" -U {first_share.USER} -c ls"
    )
    print(flush=True)


def stop(stacks: Stacks) -> int:
    """Ends what runs, and returns when it has ended."""
    ran = False
    for places, mode in stacks.values():
        pid = running_pid(places.run / "stack.pid", MARKER)
        if pid is None:
            finish(places, mode)
            continue
        ran = True
        os.kill(pid, signal.SIGTERM)
        if not wait_gone(pid, 90):
            print(f"pid {pid} has not ended within 90 s; see {places.logs}", file=sys.stderr)
            return 1
    if not ran:
        print("It does not run.")
    return 0


def guests(places: Places) -> int:
    """As an administrator of the node sees them, with whatever is not ours."""
    if running_pid(places.run / "stack.pid", MARKER) is None:
        print("It does not run.", file=sys.stderr)
        return 1
    netns.enter(places.last_netns)
    for line in modes.listed(LocalNode(places.view / "node", places.last_netns)):
        print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
