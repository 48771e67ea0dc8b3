"""The parameters of the calls that our services make, from the API schema of Proxmox VE 9.2."""

from __future__ import annotations

from services.localnode.api import formats
from services.localnode.api.schema import Param, Properties, Table

VMID = Param("integer", required=True)
TEXT = Param()
NEEDED = Param(required=True)
FLAG = Param("boolean")
COUNT = Param("integer", minimum=0)
DIGEST = Param(max_length=40)
_CONFIG_ID = Param(required=True, format=formats.config_id)
_VOLUME_KEYS = frozenset({"volume", "size", "acl", "mountoptions", "quota", "replicate", "ro", "shared"})
_NET_KEYS = frozenset(
    [
        "name",
        "bridge",
        "firewall",
        "gw",
        "gw6",
        "host-managed",
        "hwaddr",
        "ip",
        "ip6",
        "link_down",
        "mtu",
        "rate",
        "tag",
        "trunks",
        "type",
    ]
)
_FEATURE_KEYS = frozenset({"force_rw_sys", "fuse", "keyctl", "mknod", "mount", "nesting"})

NONE: Table = {}

#: The keys of a container's configuration, as create and change take them.
CONTAINER_CONFIG: Table = {
    "arch": Param(choices=("amd64", "i386", "arm64", "armhf", "riscv32", "riscv64")),
    "cmode": Param(choices=("shell", "console", "tty")),
    "console": FLAG,
    "cores": Param("integer", minimum=1, maximum=8192),
    "cpulimit": Param("number", minimum=0, maximum=8192),
    "cpuunits": Param("integer", minimum=0, maximum=500000),
    "description": Param(max_length=8192),
    "dev[n]": TEXT,
    "env": TEXT,
    "features": Param(properties=Properties(_FEATURE_KEYS)),
    "hookscript": TEXT,
    "hostname": Param(format=formats.dns_name, max_length=255),
    "lock": Param(
        choices=(
            "backup", "create", "destroyed", "disk", "fstrim", "migrate", "mounted", "rollback", "snapshot",
            "snapshot-delete",
        )
    ),
    "memory": Param("integer", minimum=16),
    "mp[n]": Param(properties=Properties(_VOLUME_KEYS | {"mp", "backup"}, ("volume", "mp"), "volume")),
    "nameserver": TEXT,
    "net[n]": Param(properties=Properties(_NET_KEYS, ("name",))),
    "onboot": FLAG,
    "ostype": TEXT,
    "protection": FLAG,
    "rootfs": Param(properties=Properties(_VOLUME_KEYS, ("volume",), "volume")),
    "searchdomain": TEXT,
    "startup": TEXT,
    "swap": Param("integer", minimum=0),
    "tags": Param(format=formats.tags),
    "template": FLAG,
    "timezone": TEXT,
    "unprivileged": FLAG,
    "unused[n]": TEXT,
}  # fmt: skip

CREATE_CONTAINER: Table = {
    **CONTAINER_CONFIG,
    "vmid": Param("integer", required=True, format=formats.vmid),
    "ostemplate": Param(required=True, max_length=255),
    "bwlimit": Param("number", minimum=0),
    "force": FLAG,
    "ha-managed": FLAG,
    "ignore-unpack-errors": FLAG,
    "password": Param(min_length=5),
    "pool": TEXT,
    "ssh-public-keys": TEXT,
    "start": FLAG,
    "storage": TEXT,
    "unique": FLAG,
}
CHANGE_CONTAINER: Table = {**CONTAINER_CONFIG, "delete": TEXT, "digest": DIGEST, "revert": TEXT}
DELETE_CONTAINER: Table = {"destroy-unreferenced-disks": FLAG, "force": FLAG, "purge": FLAG}
RESIZE_CONTAINER: Table = {
    "digest": DIGEST,
    "disk": Param(required=True, pattern=r"rootfs|mp\d+"),
    "size": Param(required=True, pattern=r"\+?\d+(\.\d+)?[KMGT]?"),
}
START: Table = {"debug": FLAG, "skiplock": FLAG}
STOP: Table = {"overrule-shutdown": FLAG, "skiplock": FLAG}
SHUTDOWN: Table = {"forceStop": FLAG, "timeout": COUNT}
SNAPSHOT: Table = {
    "description": TEXT,
    "snapname": Param(required=True, format=formats.config_id, max_length=40),
}

UPLOAD: Table = {
    "checksum": TEXT,
    "checksum-algorithm": Param(choices=("md5", "sha1", "sha224", "sha256", "sha384", "sha512")),
    "content": Param(required=True, choices=("iso", "vztmpl", "import")),
    "filename": Param(required=True, max_length=255),
}
CONTENT: Table = {"content": TEXT, "vmid": Param("integer")}
STORAGES: Table = {"content": TEXT, "enabled": FLAG, "format": FLAG, "storage": TEXT, "target": TEXT}
#: The bridges are all of its networks that this node tells.
NETWORKS: Table = {"type": Param(choices=("any_bridge", "bridge", "any_local_bridge", "include_sdn"))}
CHANGE_STORAGE: Table = {"content": TEXT, "digest": DIGEST, "disable": FLAG}

NEXTID: Table = {"vmid": Param("integer", minimum=formats.VMID_MIN, maximum=formats.VMID_MAX)}
RESOURCES: Table = {"type": Param(choices=("vm", "storage", "node", "sdn", "network"))}
TASK_LIST: Table = {
    "errors": FLAG,
    "limit": COUNT,
    "source": Param(choices=("archive", "active", "all")),
    "start": COUNT,
    "typefilter": TEXT,
    "userfilter": TEXT,
    "vmid": Param("integer"),
}
TASK_LOG: Table = {"download": FLAG, "limit": COUNT, "start": COUNT}

TICKET: Table = {"username": Param(required=True, max_length=64), "password": NEEDED, "realm": TEXT}
PERMISSIONS: Table = {"path": TEXT, "userid": TEXT}
CREATE_USER: Table = {"userid": Param(required=True, max_length=64, pattern=r"[^\s:/]+@[A-Za-z][\w.-]+"), "comment": TEXT}
CREATE_ROLE: Table = {"roleid": _CONFIG_ID, "privs": TEXT}
CREATE_TOKEN: Table = {"comment": TEXT, "expire": COUNT, "privsep": FLAG}
CHANGE_ACL: Table = {
    "delete": FLAG,
    "path": NEEDED,
    "propagate": FLAG,
    "roles": NEEDED,
    "tokens": TEXT,
    "users": TEXT,
}
CREATE_POOL: Table = {"comment": TEXT, "poolid": _CONFIG_ID}
CHANGE_POOL: Table = {
    "allow-move": FLAG, "comment": TEXT, "delete": FLAG, "poolid": NEEDED, "storage": TEXT, "vms": TEXT,
}  # fmt: skip
GET_POOL: Table = {"poolid": TEXT, "type": TEXT}
