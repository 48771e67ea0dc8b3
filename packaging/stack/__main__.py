"""`python -m packaging.stack run|stop`: the whole product on one machine.

Starts a native backend and the gateway, makes a first share, says how to reach it, and watches the processes until it is
told to stop. State lies below one directory and survives a stop.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pvesmb

from packaging.stack import configs, first_share, netns
from packaging.stack.places import Places
from packaging.stack.processes import Service, running_pid, wait_gone

CLONE = Path(__file__).resolve().parent.parent.parent
MARKER = "packaging.stack run"


def main() -> int:
    arguments = _parse()
    if os.geteuid() != 0:
        print("This needs root: smbd serves files as the user who is connected.", file=sys.stderr)
        return 2
    places = Places(arguments.state.resolve())
    if arguments.command == "stop":
        return stop(places)
    if arguments.mode != "native":
        print(f"MODE={arguments.mode} is not part of this version; MODE=native is.", file=sys.stderr)
        return 2
    if (pid := running_pid(places.run / "stack.pid", MARKER)) is not None:
        print(f"It runs already (pid {pid}). `make stop` ends it.", file=sys.stderr)
        return 2
    if arguments.netns:
        if netns.ensure(arguments.netns):
            places.run.mkdir(parents=True, exist_ok=True)
            places.made_netns.write_text(arguments.netns)
        if not netns.inside(arguments.netns):
            command = netns.command(arguments.netns, [sys.executable, "-m", MARKER.split()[0], *sys.argv[1:]])
            os.execvp(command[0], command)
    if arguments.detach:
        return detach(places, sys.argv[1:])
    return run(places, arguments.netns or "-")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("run")
    starting.add_argument("--detach", action="store_true", help="return when ready")
    starting.add_argument("--mode", choices=["native", "lxc", "vm"], default="native")
    starting.add_argument("--netns", default="", help="network namespace to run in, made if absent")
    stopping = commands.add_parser("stop")
    for command in (starting, stopping):
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


def run(places: Places, namespace: str) -> int:
    """Runs until SIGINT or SIGTERM."""
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    places.open()
    (places.run / "stack.pid").write_text(f"{os.getpid()}\n")
    settings = configs.write(places)
    python = [sys.executable, "-m"]
    native = _service(places, "native", [*python, "services.native", "--config", str(settings.native)])
    gateway = _service(places, "gateway", [*python, "gateway", "--config", str(settings.gateway)])
    try:
        for service in (native, gateway):
            service.start()
            service.wait_ready(60)
        port = 445 if namespace != "-" else 0
        share = first_share.ensure(f"unix:{gateway.socket}", places.run.parent / "etc" / "demo.password", port=port)
        _say(places, settings.address, share, namespace)
        while not stopping.wait(0.2):
            native.look()
            gateway.look()
    except (RuntimeError, pvesmb.PvesmbError) as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        gateway.stop()
        native.stop()
        finish(places)
    return 0


def finish(places: Places) -> None:
    """Ends whatever is left, also after processes that could not do it themselves because they were killed."""
    config = places.etc / "native.toml"
    if config.exists() and (places.view / "native" / "store.db").exists():
        command = [sys.executable, "-m", "services.native", "--config", str(config), "--stop-servers"]
        subprocess.run(command, cwd=CLONE, check=True)
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
    if places.state != CLONE / "var":  # where the command line looks by itself
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


def stop(places: Places) -> int:
    """Ends what runs, and returns when it has ended."""
    pid = running_pid(places.run / "stack.pid", MARKER)
    if pid is None:
        finish(places)
        print("It does not run.")
        return 0
    os.kill(pid, signal.SIGTERM)
    if not wait_gone(pid, 90):
        print(f"pid {pid} has not ended within 90 s; see {places.logs}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
