"""Containers: the calls that a mode makes, with types.

What changes something answers a `Upid` to wait for (`tasks.wait`), except changes of configuration, which Proxmox VE makes
before it answers. Nothing here decides whether a guest may be touched: `Config.owner` tells whose it is, and who calls
compares it with the uid of the resource first.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.core.errors import PvesmbError
from services.proxmox.failures import Kind, kind_of
from services.proxmox.ids import is_free
from services.proxmox.mounts import Mount, NewVolume
from services.proxmox.ownership import TAG, description, owner_of, owner_tag
from services.proxmox.session import Api, Value
from services.proxmox.tasks import Upid

_READ_TIMEOUT = 30.0
#: A create or a change may lay out a volume before it answers.
_CHANGE_TIMEOUT = 120.0


@dataclass(frozen=True)
class Guest:
    """One container by place and number."""

    node: str
    vmid: int

    @property
    def path(self) -> tuple[str | int, ...]:
        return ("nodes", self.node, "lxc", self.vmid)

    @property
    def subject(self) -> str:
        """For messages."""
        return f"container {self.vmid}"


@dataclass(frozen=True)
class Nic:
    """`address` and `address6` are CIDR, `dhcp`, or for IPv6 also `auto`; empty: none."""

    bridge: str
    address: str = "dhcp"
    gateway: str = ""
    address6: str = ""
    gateway6: str = ""
    vlan: int = 0
    firewall: bool = False

    def text(self) -> str:
        """As `net0` has it."""
        parts = {
            "name": "eth0",
            "bridge": self.bridge,
            "ip": self.address,
            "gw": self.gateway,
            "ip6": self.address6,
            "gw6": self.gateway6,
            "tag": str(self.vlan or ""),
            "firewall": "1" if self.firewall else "",
        }
        return ",".join(f"{key}={value}" for key, value in parts.items() if value)


@dataclass(frozen=True)
class NewContainer:
    """What a container is made from. `uid` is that of the resource that owns it; sizes in bytes, memory in MiB."""

    uid: str
    hostname: str
    template: str
    rootfs: NewVolume
    nic: Nic
    ssh_public_keys: Sequence[str] = ()
    pool: str = ""
    nameserver: str = ""
    search_domain: str = ""
    cores: int = 1
    memory_mib: int = 512
    swap_mib: int = 0
    onboot: bool = True
    startup: str = ""
    protection: bool = False
    nesting: bool = False
    note: str = ""

    def params(self) -> dict[str, Value]:
        """The form of the create call. `unprivileged` is always sent: its default was 0 up to 8.4."""
        return {
            "ostemplate": self.template,
            "unprivileged": True,
            "rootfs": self.rootfs.text(),
            "net0": self.nic.text(),
            "ssh-public-keys": "\n".join(self.ssh_public_keys) or None,
            "pool": self.pool or None,
            "features": "nesting=1" if self.nesting else None,
            **self.options(),
            "tags": f"{TAG};{owner_tag(self.uid)}",
            "description": description(self.uid, self.note),
        }

    def options(self) -> dict[str, Value]:
        """What can be changed later too; None is the option's absence."""
        return {
            "hostname": self.hostname,
            "nameserver": self.nameserver or None,
            "searchdomain": self.search_domain or None,
            "cores": self.cores,
            "memory": self.memory_mib,
            "swap": self.swap_mib,
            "onboot": self.onboot or None,
            "startup": self.startup or None,
            "protection": self.protection or None,
        }


@dataclass(frozen=True)
class Config:
    """A container's configuration. `digest` goes with a change that must not meet another's."""

    digest: str
    owner: str
    tags: tuple[str, ...]
    hostname: str
    description: str
    mounts: Mapping[str, Mount]
    raw: Mapping[str, Any]

    @property
    def lock(self) -> str:
        return str(self.raw.get("lock", ""))


@dataclass(frozen=True)
class Status:
    running: bool
    uptime: float
    lock: str
    ha_managed: bool


@dataclass(frozen=True)
class Listed:
    """A container in the node's list."""

    vmid: int
    name: str
    running: bool
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Interface:
    name: str
    mac: str
    addresses: tuple[ipaddress.IPv4Interface | ipaddress.IPv6Interface, ...]


def create(api: Api, guest: Guest, new: NewContainer) -> Upid:
    """Begins to make it, stopped. Its tag and description carry the uid from the first moment, so that a create whose
    answer was lost is found again (`read_config`)."""
    params = {"vmid": guest.vmid, **new.params()}
    needs = f"VM.Allocate on {f'/pool/{new.pool}' if new.pool else f'/vms/{guest.vmid}'}"
    path = ("nodes", guest.node, "lxc")
    return Upid.parse(api.call("POST", path, params, subject=guest.subject, needs=needs, timeout=_CHANGE_TIMEOUT))


def list_containers(api: Api, node: str) -> list[Listed]:
    """Those that the login may see. The node's own list, because that of the cluster lags ten seconds behind."""
    got = api.call("GET", ("nodes", node, "lxc"), timeout=_READ_TIMEOUT)
    return [
        Listed(int(each["vmid"]), str(each.get("name", "")), each.get("status") == "running", _tags(each)) for each in got
    ]


def read_config(api: Api, guest: Guest, *, next_start: bool = False) -> Config:
    """As it is now, or as it will be when what is pending has been taken up: a running container still holds a volume whose
    deletion is pending, and its key must not be given to another. `NO_GUEST` if there is none."""
    params = {"current": not next_start}
    raw = api.call("GET", (*guest.path, "config"), params, subject=guest.subject, timeout=_READ_TIMEOUT)
    notes, tags = str(raw.get("description", "")), _tags(raw)
    mounts = {key: Mount.parse(str(raw[key])) for key in sorted(raw) if re.fullmatch(r"rootfs|(mp|unused)\d+", key)}
    return Config(str(raw["digest"]), owner_of(tags, notes), tags, str(raw.get("hostname", "")), notes, mounts, raw)


def find(api: Api, guest: Guest) -> Config | None:
    """Its configuration, or None if there is no such container. A login whose rights come from a pool is refused what is
    in no pool, which a guest that is gone is: then the cluster is asked whether the id is free."""
    try:
        return read_config(api, guest)
    except PvesmbError as error:
        if kind_of(error) is Kind.NO_GUEST or (kind_of(error) is Kind.PRIVILEGE and is_free(api, guest.vmid)):
            return None
        raise


def configure(
    api: Api, guest: Guest, changes: Mapping[str, Value], *, delete: Sequence[str] = (), digest: str = ""
) -> None:
    """Changes options at once (`STALE` if the configuration is no longer that of `digest`). What a running container takes
    up only at its next start, Proxmox keeps as pending: see `pending`."""
    params = {**changes, "delete": ",".join(delete) or None, "digest": digest or None}
    api.call("PUT", (*guest.path, "config"), params, subject=guest.subject, timeout=_CHANGE_TIMEOUT)


def pending(api: Api, guest: Guest) -> frozenset[str]:
    """The options whose change or deletion waits for the next start."""
    got = api.call("GET", (*guest.path, "pending"), subject=guest.subject, timeout=_READ_TIMEOUT)
    return frozenset(each["key"] for each in got if "pending" in each or each.get("delete"))


def start(api: Api, guest: Guest) -> Upid:
    """`RUNNING` at once if it runs."""
    return Upid.parse(api.call("POST", (*guest.path, "status", "start"), subject=guest.subject))


def shutdown(api: Api, guest: Guest, *, timeout: int = 60, force: bool = True) -> Upid:
    """Asks the guest; after `timeout` seconds `force` ends it hard."""
    params = {"timeout": timeout, "forceStop": force}
    return Upid.parse(api.call("POST", (*guest.path, "status", "shutdown"), params, subject=guest.subject))


def stop(api: Api, guest: Guest) -> Upid:
    """Ends it hard."""
    return Upid.parse(api.call("POST", (*guest.path, "status", "stop"), subject=guest.subject))


def destroy(api: Api, guest: Guest) -> Upid:
    """Removes it, running or not, with its volumes and with its entries in HA, backup and replication jobs."""
    params = {"purge": True, "force": True, "destroy-unreferenced-disks": True}
    return Upid.parse(api.call("DELETE", guest.path, params, subject=guest.subject))


def read_status(api: Api, guest: Guest) -> Status:
    """As the node sees it now; the answer to a start under HA only means that it was asked for."""
    got = api.call("GET", (*guest.path, "status", "current"), subject=guest.subject, timeout=_READ_TIMEOUT)
    managed = bool((got.get("ha") or {}).get("managed"))
    return Status(got["status"] == "running", float(got.get("uptime") or 0), str(got.get("lock") or ""), managed)


def interfaces(api: Api, guest: Guest) -> list[Interface]:
    """As they are inside; empty while it is stopped, without addresses for the first seconds."""
    got = api.call("GET", (*guest.path, "interfaces"), subject=guest.subject, timeout=_READ_TIMEOUT)
    return [
        Interface(str(each["name"]), str(each.get("hwaddr", "")), tuple(map(ipaddress.ip_interface, _addresses(each))))
        for each in got or []
    ]


def _addresses(each: Mapping[str, Any]) -> list[str]:
    """`ip-addresses` has them all, but only since 8.4; before there is one of each kind."""
    if "ip-addresses" in each:
        return [f"{address['ip-address']}/{address['prefix']}" for address in each["ip-addresses"]]
    return [each[key] for key in ("inet", "inet6") if each.get(key)]


def _tags(raw: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(tag for tag in re.split(r"[;, ]", str(raw.get("tags") or "")) if tag)
