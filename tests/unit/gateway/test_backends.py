"""The backends file: accepted, refused, changed, broken."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import grpc
import pytest

from gateway.backends import Backends
from services.core.errors import BackendUnknown
from services.kit import pki
from services.kit.config import ConfigError

_A = '[backends.a]\ntarget = "unix:/nowhere/a"\n'
_B = '[backends.b]\ntarget = "unix:/nowhere/b"\n'


def put(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    os.rename(new, path)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "backends.toml"
    put(path, _A)
    return path


async def test_changes_without_restart(file: Path) -> None:
    backends = Backends(str(file))
    a = backends.get("a")
    with pytest.raises(BackendUnknown) as caught:
        backends.get("b")
    assert caught.value.metadata == {"backend": "b"}
    put(file, _A + _B)
    backends.refresh()
    assert backends.get("a") is a, "an untouched backend keeps its channel"
    assert [b.id for b in backends.all()] == ["a", "b"]
    put(file, _A.replace("/a", "/c") + _B)
    backends.refresh()
    assert backends.get("a") is not a
    put(file, _B)
    backends.refresh()
    with pytest.raises(BackendUnknown):
        backends.get("a")
    await backends.close()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("[backends", "TOML"),
        ("[other]\n", "other"),
        ("[backends.Upper]\ntarget = 'unix:/x'", "Upper"),
        ("[backends.a]\n", "backends.a.target"),
        ("[backends.a]\ntarget = 'unix:relative'", "absolute"),
        ("[backends.a]\ntarget = 'host:1'", "needs tls"),
        ("[backends.a]\ntarget = '10.0.0.1:1'\ninsecure_loopback = true", "needs tls"),
        ("[backends.a]\ntarget = 'host'\n", "HOST:PORT"),
        ("[backends.a]\ntarget = 'unix:/x'\nextra = 1", "extra"),
        ("[backends.a]\ntarget='h:1'\n[backends.a.tls]\nca_file='/no'\ncert_file='/no'\nkey_file='/no'", "/no"),
    ],
)
async def test_broken_file(file: Path, text: str, part: str) -> None:
    backends = Backends(str(file))
    a = backends.get("a")
    put(file, text)
    backends.refresh()
    assert part in backends.problem
    assert backends.get("a") is a
    put(file, _A)
    backends.refresh()
    assert backends.problem == ""
    put(file, text)
    with pytest.raises(ConfigError, match="backends.toml" if "/no" not in part else "/no"):
        Backends(str(file))
    await backends.close()


async def test_vanished_file_leaves_the_old_one_in_force(file: Path) -> None:
    backends = Backends(str(file))
    file.unlink()
    backends.refresh()
    assert "No such file" in backends.problem
    assert backends.get("a").id == "a"
    await backends.close()


async def test_channels_of_removed_backends_close_after_their_last_call(file: Path) -> None:
    backends = Backends(str(file))
    a = backends.get("a")
    with a.lease():
        put(file, "")
        backends.refresh()
        await asyncio.sleep(0)
        assert a.channel.get_state() is not grpc.ChannelConnectivity.SHUTDOWN
    async with asyncio.timeout(30):
        while a.channel.get_state() is not grpc.ChannelConnectivity.SHUTDOWN:
            await asyncio.sleep(0.01)
    await backends.close()


async def test_new_certificates_make_a_new_channel(file: Path, place: Path) -> None:
    ca = pki.authority(place)
    tls = ca.issue_gateway([])
    lines = [f'{key} = "{value}"' for key, value in tls.model_dump().items()]
    put(file, '[backends.a]\ntarget = "h:1"\nserver_name = "x"\n[backends.a.tls]\n' + "\n".join(lines))
    backends = Backends(str(file))
    a = backends.get("a")
    backends.refresh()
    assert backends.get("a") is a
    ca.issue_gateway([])
    backends.refresh()
    assert backends.get("a") is not a
    await backends.close()


async def test_loopback_without_tls_by_choice(file: Path) -> None:
    put(
        file,
        "[backends.a]\ntarget = '127.0.0.1:1'\ninsecure_loopback = true\n[backends.b]\ntarget = '[::1]:1'\n"
        "insecure_loopback = true\n[backends.c]\ntarget = 'localhost:1'\ninsecure_loopback = true\n",
    )
    backends = Backends(str(file))
    assert len(backends.all()) == 3
    await backends.close()


async def test_order_is_that_of_resource_names(file: Path) -> None:
    put(file, _A + _B + '[backends.a-b]\ntarget = "unix:/x"\n')
    backends = Backends(str(file))
    assert [b.id for b in backends.all()] == sorted(["a", "b", "a-b"], key=lambda id: f"backends/{id}/fileServers/x")
    assert [b.id for b in backends.all()] == ["a-b", "a", "b"]
    await backends.close()


async def test_watch_sees_a_change_by_itself(file: Path) -> None:
    backends = Backends(str(file))
    watching = asyncio.create_task(backends.watch())
    put(file, _B)
    async with asyncio.timeout(30):
        while [b.id for b in backends.all()] != ["b"]:
            await asyncio.sleep(0.05)
    watching.cancel()
    await backends.close()
