"""A container's configuration: who may set which key, what is written for it, and what a start makes of it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.localnode.api.formats import parse_properties, render_properties, render_size, split_list
from services.localnode.api.permissions import Rights
from services.localnode.api.refusal import bad_parameters, denied, failed
from services.localnode.api.schema import Value
from services.localnode.guests.ports import ContainerPlan, Mount, Network
from services.localnode.node import Node
from services.localnode.state import Guest

#: A new volume: storage and GiB.
_NEW = re.compile(r"([A-Za-z][A-Za-z0-9._-]*):(\d+(?:\.\d+)?)")
_GROUPS = {
    "VM.Config.CPU": ("cores", "cpulimit", "cpuunits"),
    "VM.Config.Memory": ("memory", "swap"),
    "VM.Config.Network": ("hostname", "nameserver", "searchdomain"),
}
_PRIVILEGE = {key: privilege for privilege, keys in _GROUPS.items() for key in keys}
#: Keys that a running container takes on at once, or that mean nothing to it.
LIVE = frozenset(
    [
        "cores",
        "cpulimit",
        "cpuunits",
        "description",
        "hookscript",
        "hostname",
        "lock",
        "memory",
        "onboot",
        "protection",
        "startup",
        "swap",
        "tags",
    ]
)
DEFAULTS: Mapping[str, Any] = {"arch": "amd64", "memory": 512, "ostype": "debian", "swap": 512}


@dataclass(frozen=True)
class NewVolume:
    """A volume to be made for a key of the configuration."""

    key: str
    storage: str
    size: int
    properties: Mapping[str, str]


def is_volume_key(key: str) -> bool:
    return key == "rootfs" or re.fullmatch(r"(mp|unused)\d+", key) is not None


def check_rights(
    rights: Rights, vmid: int, pool: str, values: Mapping[str, Value], delete: Iterable[str], unprivileged: bool
) -> None:
    """Refuses keys that the caller may not set (PVE::LXC::check_ct_modify_config_perm); root's login may set all."""
    if rights.caller.is_root_login:
        return
    for key in [*delete, *values]:
        if is_volume_key(key):
            rights.need_vm(vmid, pool, "VM.Config.Disk")
            volume = parse_properties(str(values.get(key, "")), "volume").get("volume", "")
            if volume.startswith("/"):
                kind = "device" if volume.startswith("/dev/") else "bind"
                raise denied(f"mount point type {kind} is only allowed for root@pam")
        elif re.fullmatch(r"net\d+", key):
            rights.need_vm(vmid, pool, "VM.Config.Network")
        elif key == "features":
            _check_features(rights, vmid, pool, str(values.get(key, "")), unprivileged)
        elif key == "hookscript":
            raise denied("changing the hookscript is only allowed for root@pam")
        elif re.fullmatch(r"dev\d+", key):
            raise denied("configuring device passthrough is only allowed for root@pam")
        else:
            rights.need_vm(vmid, pool, _PRIVILEGE.get(key, "VM.Config.Options"))


def check_storages(node: Node, rights: Rights, values: Mapping[str, Value]) -> None:
    """Storages of a new container's volumes: there, meant for containers, and open to the caller."""
    for name in _storages(values):
        rights.need(f"/storage/{name}", "Datastore.AllocateSpace")
        node.storage(name).need_rootdir()


def check_spaces(rights: Rights, values: Mapping[str, Value]) -> None:
    for name in _storages(values):
        rights.need(f"/storage/{name}", "Datastore.AllocateSpace")


def check_contents(node: Node, values: Mapping[str, Value]) -> None:
    """A change says it in other words than a create."""
    for name in _storages(values):
        if "rootdir" not in node.storage(name).content:
            raise failed(f"storage '{name}' does not allow content type 'rootdir' (Container)")


def _storages(values: Mapping[str, Value]) -> list[str]:
    """Those of new volumes."""
    return [volume.storage for volume in new_volumes(values)]


def check_bridges(rights: Rights, values: Mapping[str, Value]) -> None:
    for key, value in values.items():
        bridge = parse_properties(str(value), "").get("bridge") if re.fullmatch(r"net\d+", key) else None
        if bridge:
            rights.need(f"/sdn/zones/localnetwork/{bridge}", "SDN.Use")


def written(key: str, value: Value) -> Any:
    """How a value is kept: tags sorted, an interface with its hardware address, a description with its line end."""
    if key == "tags":
        return ";".join(sorted(set(split_list(str(value).lower()))))
    if key == "description":
        return f"{str(value).rstrip()}\n"
    if re.fullmatch(r"net\d+", key):
        properties = parse_properties(str(value), "")
        properties.setdefault("type", "veth")
        properties.setdefault("hwaddr", ":".join(["BC:24:11", *(f"{byte:02X}" for byte in secrets.token_bytes(3))]))
        return render_properties(properties, required=("name",))
    return value


def new_volumes(values: Mapping[str, Value]) -> list[NewVolume]:
    """The volumes that these values ask for, the root volume first."""
    found = []
    for key in sorted((key for key in values if is_volume_key(key)), key=lambda key: (key != "rootfs", len(key), key)):
        properties = parse_properties(str(values[key]), "volume")
        new = _NEW.fullmatch(properties.pop("volume", ""))
        if new:
            size = int(float(new[2]) * (1 << 30))
            if size <= 0:
                raise bad_parameters({key: "a new volume needs a size"})
            found.append(NewVolume(key, new[1], size, properties))
    return found


def volume_value(volume: NewVolume, volid: str) -> str:
    properties = {**volume.properties, "volume": volid, "size": render_size(volume.size)}
    return render_properties(properties, "volume", ("mp",))


def volume_of(value: Any) -> str:
    """The volume id (or path) of a rootfs, mpN or unusedN."""
    return parse_properties(str(value), "volume").get("volume", "")


def own_volumes(guest: Guest) -> dict[str, str]:
    """Volumes by key, without bind mounts."""
    values = {key: volume_of(value) for key, value in guest.config.items() if is_volume_key(key)}
    return {key: volid for key, volid in values.items() if not volid.startswith("/")}


def plan(node: Node, guest: Guest) -> ContainerPlan:
    """What a start needs, with the volumes mounted."""
    config = guest.config
    mounts = [mount(node, guest.vmid, key, config[key]) for key in sorted(config) if re.fullmatch(r"mp\d+", key)]
    return ContainerPlan(
        vmid=guest.vmid,
        hostname=str(config.get("hostname", f"CT{guest.vmid}")),
        rootfs=mount(node, guest.vmid, "rootfs", config["rootfs"]).source,
        mounts=mounts,
        networks=[network(config[key]) for key in sorted(config) if re.fullmatch(r"net\d+", key)],
        memory_mib=int(config.get("memory", 512)),
        swap_mib=int(config.get("swap", 512)),
        cores=int(config.get("cores", 0)),
        nesting=parse_properties(str(config.get("features", "")), "").get("nesting") == "1",
        nameservers=split_list(str(config.get("nameserver", ""))),
        searchdomain=" ".join(split_list(str(config.get("searchdomain", "")))),
    )


def mount(node: Node, vmid: int, key: str, value: Any) -> Mount:
    """Mounts the volume of a key on the node, and says where it lies inside."""
    properties = parse_properties(str(value), "volume")
    volid, read_only = properties["volume"], properties.get("ro") == "1"
    if volid.startswith("/"):
        if not Path(volid).exists():
            raise failed(f"directory '{volid}' does not exist")
        return Mount(Path(volid), properties.get("mp", "/"), read_only)
    storage = node.storage(volid.partition(":")[0])
    file = storage.file(volid)
    if not file.exists():
        raise failed(f"volume '{volid}' does not exist")
    return Mount(storage.volumes.mount(file, mount_point(node, vmid, key)), properties.get("mp", "/"), read_only)


def mount_point(node: Node, vmid: int, key: str) -> Path:
    return node.mounts / str(vmid) / key


def release(node: Node, guest: Guest) -> None:
    """Unmounts every volume of a stopped container."""
    for key, volid in own_volumes(guest).items():
        node.storage(volid.partition(":")[0]).volumes.unmount(mount_point(node, guest.vmid, key))


def remove_volumes(node: Node, vmid: int) -> None:
    """Every volume with this guest's id in its name, whether its configuration knows it or not."""
    for name in node.storage_names():
        storage = node.storage(name)
        for file in storage.guest_volumes(vmid):
            storage.volumes.remove(file)
        directory = storage.path / "images" / str(vmid)
        if directory.is_dir():
            directory.rmdir()


def _check_features(rights: Rights, vmid: int, pool: str, text: str, unprivileged: bool) -> None:
    if not unprivileged:
        raise denied("changing feature flags for privileged container is only allowed for root@pam")
    if set(parse_properties(text, "")) - {"nesting", ""}:
        raise denied("changing feature flags (except nesting) is only allowed for root@pam")
    rights.need_vm(vmid, pool, "VM.Allocate")


def network(value: Any) -> Network:
    p = parse_properties(str(value), "")
    return Network(
        name=p["name"], bridge=p.get("bridge", ""), hwaddr=p["hwaddr"], ip=p.get("ip", ""), gateway=p.get("gw", ""),
        ip6=p.get("ip6", ""), gateway6=p.get("gw6", ""), vlan=int(p.get("tag", "0")),
    )  # fmt: skip
