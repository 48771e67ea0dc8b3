"""Calls that change nothing: what the gateway's hop costs, and what a page of a long list."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pvesmb

from tests.bench.measuring import Row, medians_ms, ratio
from tests.e2e.native import NativeDeployment
from tests.e2e.waiting import until
from tests.e2e.words import Server

NGINX = """
daemon off; user root; worker_processes 1; pid {base}/nginx.pid; error_log {base}/nginx.log;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {base}/nginx-temp; proxy_temp_path {base}/nginx-temp;
  fastcgi_temp_path {base}/nginx-temp; uwsgi_temp_path {base}/nginx-temp; scgi_temp_path {base}/nginx-temp;
  upstream backend {{ server unix:{backend}; keepalive 64; }}
  server {{
    listen unix:{base}/nginx.sock http2; http2_max_concurrent_streams 512; keepalive_requests 10000000;
    location / {{ grpc_pass grpc://backend; }}
  }}
}}
"""


def hop(deployment: NativeDeployment, times: int, create_ms: float) -> list[Row]:
    """GetShare through the gateway, through nginx, and direct."""
    server = deployment.new_server()
    name = deployment.client.shares.create(server.name, "docs").result(timeout=60).name
    with (
        nginx(deployment) as proxy,
        pvesmb.Client(f"unix:{deployment.service.socket}") as direct,
        pvesmb.Client(f"unix:{proxy}") as proxied,
    ):
        clients = {"gateway": deployment.client, "direct": direct, "nginx": proxied}
        taken = medians_ms(times, {key: partial(_get, client, name) for key, client in clients.items()})
    ours, theirs = (taken[key] - taken["direct"] for key in ("gateway", "nginx"))
    share = ours / create_ms
    return [
        ratio("the gateway's hop on `GetShare`, p50, over that of nginx `grpc_pass`", 4, ours, theirs),
        Row("the gateway's hop over a confirmed create", "≤ 1 %", f"{share:.2%} ({ours:.2f} ms)", share <= 0.01),
    ]


@contextmanager
def nginx(deployment: NativeDeployment) -> Iterator[Path]:
    """A proxy in front of the backend: its socket."""
    base = deployment.state
    config, socket = base / "nginx.conf", base / "nginx.sock"
    config.write_text(NGINX.format(base=base, backend=deployment.service.socket))
    process = subprocess.Popen(["/usr/sbin/nginx", "-p", str(base), "-c", str(config), "-e", f"{base}/nginx.log"])
    try:
        until(socket.exists, "nginx")
        yield socket
    finally:
        process.terminate()
        process.wait()


def lists(long: NativeDeployment, short: NativeDeployment, times: int) -> Row:
    """A page of 100 shares of a file server that has 10,000, against one that has 200, in a store of its own."""
    servers = {10_000: (long, long.new_server()), 200: (short, short.new_server())}
    for count, (deployment, server) in servers.items():
        deployment.client.shares.create(server.name, "s").result(timeout=60)
        _multiply(deployment, server, count)
        whole = deployment.client.shares.list(server.name, page_size=1000)
        assert len(list(whole)) == count, "the list is not as long as it should be"
    taken = medians_ms(times, {str(count): partial(_first_page, *where) for count, where in servers.items()})
    return ratio("list a page of 100 of 10,000 shares, p50, over a page of 100 of 200", 1.3, taken["10000"], taken["200"])


def _multiply(deployment: NativeDeployment, server: Server, count: int) -> None:
    """Copies the one share in the store, past the service: Samba would take minutes for so many."""
    with closing(sqlite3.connect(deployment.service_dir / "store.db")) as store, store:
        cursor = store.execute("SELECT * FROM resources WHERE server = ? AND kind = 'shares'", [server.name])
        columns = [column[0] for column in cursor.description]
        row = dict(zip(columns, cursor.fetchone(), strict=True))
        marks = ", ".join(f":{column}" for column in columns)
        for i in range(count - 1):
            id = f"s{i:05}"
            fresh = {"name": f"{row['parent']}/shares/{id}", "last": id, "key": id, "uid": f"{row['uid']}-{i}"}
            store.execute(f"INSERT INTO resources ({', '.join(columns)}) VALUES ({marks})", {**row, **fresh})


def _get(client: pvesmb.Client, name: str, _: int) -> None:
    client.shares.get(name)


def _first_page(deployment: NativeDeployment, server: Server, _: int) -> None:
    listing = iter(deployment.client.shares.list(server.name, page_size=100))
    for _ in range(100):
        next(listing)
