"""A private PostgreSQL: an own cluster in a temporary directory, on a Unix socket only."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


def binaries() -> str:
    """Directory of Debian's newest server programs."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    assert found, "PostgreSQL is missing: packaging/apt.txt names the package"
    return os.path.dirname(found[-1])


@contextmanager
def cluster() -> Iterator[str]:
    """Starts one, yields the URL of its database, stops and removes it. PostgreSQL refuses to run as root."""
    account = pwd.getpwnam("postgres")
    base = tempfile.mkdtemp(prefix="pvesmb-pg-")
    os.chown(base, account.pw_uid, account.pw_gid)

    def run(*argv: str) -> None:
        as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
        done = subprocess.run([*as_postgres, *argv], cwd=base, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        run(f"{binaries()}/initdb", "-D", f"{base}/data", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync")
        options = f"-c listen_addresses='' -c unix_socket_directories={base} -c fsync=off"
        run(f"{binaries()}/pg_ctl", "-D", f"{base}/data", "-w", "-l", f"{base}/log", "-o", options, "start")
        try:
            yield f"postgresql+psycopg://postgres@/postgres?host={base}"
        finally:
            run(f"{binaries()}/pg_ctl", "-D", f"{base}/data", "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(base, ignore_errors=True)
