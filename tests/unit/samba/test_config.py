"""smb.conf, rendered."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.core.domain.file_server import Demand, Dialect, FileServerSpec
from services.samba import config
from services.samba.layout import Layout
from tests.unit.samba import builders

LAYOUT = Layout(
    conf="/i/smb.conf",
    private_dir="/i/private",
    state_dir="/i/state",
    lock_dir="/i/lock",
    cache_dir="/i/cache",
    pid_dir="/i/pid",
    ncalrpc_dir="/i/ncalrpc",
    log_dir="/i/log",
    passwd="/i/passwd",
    group="/i/group",
    probe_dir="/i/probe",
)
ENDPOINTS = [("127.0.0.2", 445)]


def parameters(endpoints: Any = ENDPOINTS, layout: Layout = LAYOUT, site: Any = None, **smb: Any) -> dict[str, str]:
    return config.parameters(builders.server(**smb), layout, endpoints, site or {})


def test_the_defaults_are_the_safe_ones() -> None:
    made = parameters()
    expected = {
        "server min protocol": "SMB3_00",
        "server signing": "required",
        "server smb encrypt": "desired",
        "ntlm auth": "ntlmv2-only",
        "restrict anonymous": "2",
        "map to guest": "Never",
        "wide links": "no",
        "disable netbios": "yes",
        "usershare path": "",
        "load printers": "no",
    }
    assert {name: made[name] for name in expected} == expected


def test_where_windows_permissions_are_kept_is_the_hosts_matter() -> None:
    option = "acl_xattr:security_acl_name"
    assert option not in parameters()
    assert parameters(layout=replace(LAYOUT, nt_acl_attribute="user.NTACL"))[option] == "user.NTACL"


def test_settings() -> None:
    made = parameters(
        min_protocol=Dialect.SMB2_10,
        signing=Demand.DESIRED,
        encryption=Demand.REQUIRED,
        netbios_name="srv1",
        workgroup="lan",
    )
    assert made["server min protocol"] == "SMB2_10"
    assert made["server signing"] == "desired"
    assert made["server smb encrypt"] == "required"
    assert (made["netbios name"], made["workgroup"]) == ("SRV1", "LAN")
    assert parameters(encryption=Demand.OFF)["server smb encrypt"] == "if_required"


def test_guests_need_a_server_that_does_not_ask_for_encryption() -> None:
    made = parameters(allow_guests=True)
    assert made["map to guest"] == "Bad User"
    assert made["server smb encrypt"] == "if_required"


def test_names() -> None:
    server = replace(builders.server(), name=replace(builders.SERVER, file_server="a-name-of-14ch-and-more"))
    made = config.parameters(server, LAYOUT, ENDPOINTS, {})
    assert made["netbios name"] == "A-NAME-OF-14CH"
    assert made["server string"] == "a-name-of-14ch-and-more"
    spec = FileServerSpec(description="Joins the next line \\")
    assert config.parameters(builders.server(spec), LAYOUT, ENDPOINTS, {})["server string"] == "Joins the next line"


@pytest.mark.parametrize(
    ("endpoints", "interfaces", "ports"),
    [
        ([("127.0.0.2", 445)], "127.0.0.2/8", "445"),
        ([("10.0.0.5", 4450)], "10.0.0.5", "4450"),
        ([("10.0.0.5", 445), ("fd00::5", 445)], "10.0.0.5 fd00::5", "445"),
        ([("::1", 445)], "::1", "445"),
        ([("0.0.0.0", 445)], None, "445"),
        ([], None, "445"),
    ],
)
def test_network(endpoints: list[tuple[str, int]], interfaces: str | None, ports: str) -> None:
    made = parameters(endpoints)
    assert made.get("interfaces") == interfaces
    assert made.get("bind interfaces only") == (None if interfaces is None else "yes")
    assert made["smb ports"] == ports


def test_a_guest_listens_everywhere() -> None:
    assert "interfaces" not in parameters(layout=replace(LAYOUT, every_address=True))


def test_the_text() -> None:
    text = config.render(builders.server(), LAYOUT, ENDPOINTS, {"Log Level": "2"})
    lines = text.splitlines()
    assert lines[1] == "[global]"
    assert lines[-1] == "  include = registry"
    assert "  log level = 2" in lines
    assert config.INCLUDE in text


@pytest.mark.parametrize(
    ("change", "restart"),
    [
        ({}, False),
        ({"min_protocol": Dialect.SMB3_11}, False),
        ({"encryption": Demand.REQUIRED}, False),
        ({"allow_guests": True}, False),
        ({"workgroup": "OTHER"}, True),
        ({"netbios_name": "OTHER"}, True),
    ],
)
def test_what_needs_a_restart(change: dict[str, Any], restart: bool) -> None:
    old = config.render(builders.server(), LAYOUT, ENDPOINTS, {}).encode()
    new = config.render(builders.server(**change), LAYOUT, ENDPOINTS, {}).encode()
    assert config.needs_restart(old, new) is restart


def test_another_address_or_port_needs_a_restart() -> None:
    old = config.render(builders.server(), LAYOUT, ENDPOINTS, {}).encode()
    for endpoint in (("127.0.0.3", 445), ("127.0.0.2", 446)):
        assert config.needs_restart(old, config.render(builders.server(), LAYOUT, [endpoint], {}).encode())
    assert config.needs_restart(None, old)
