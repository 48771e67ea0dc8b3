"""smb.conf of one instance: global options only, the shares are in the registry."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence

from services.core.domain.file_server import Demand
from services.samba import options
from services.samba.instance import GUEST_USER, Server
from services.samba.layout import Layout

#: Options that a running smbd takes over by `reload-config` for its next connections. Any other change needs a restart.
_RELOADABLE = {
    "server string", "server min protocol", "server signing", "server smb encrypt", "map to guest", "max log size",
    "log level", "restrict anonymous", "ntlm auth", "pvesmb:uid", "pvesmb:generation",
}  # fmt: skip

#: Last line of the section; left out when the file is checked, so that the shares' own faults do not hinder it.
INCLUDE = "  include = registry\n"

_HEAD = "# Made by PVE SMB Gateway and written again when it differs. The shares are in the registry: `net conf list`.\n"


def render(server: Server, layout: Layout, endpoints: Sequence[tuple[str, int]], site_options: Mapping[str, str]) -> str:
    """The file. The site's options replace ours where they differ."""
    wanted = parameters(server, layout, endpoints, site_options)
    return _HEAD + "[global]\n" + "".join(f"  {name} = {value}\n" for name, value in wanted.items()) + INCLUDE


def parameters(
    server: Server, layout: Layout, endpoints: Sequence[tuple[str, int]], site_options: Mapping[str, str]
) -> dict[str, str]:
    """The global options by their canonical names, in the spelling in which testparm(1) gives them back."""
    smb = server.spec.smb
    result = {
        "server role": "standalone server",
        "netbios name": (smb.netbios_name or server.name.file_server[:15].rstrip("-")).upper(),
        "workgroup": smb.workgroup.upper(),
        # A backslash at the end would join the next line to this one.
        "server string": server.spec.description.rstrip(' \\"').lstrip(' "') or server.name.file_server,
        "disable netbios": "yes",
        **_network(layout, endpoints),
        "server min protocol": smb.min_protocol.value,
        "server signing": "required" if smb.signing is Demand.REQUIRED else "desired",
        "server smb encrypt": _encryption(server),
        "ntlm auth": "ntlmv2-only",
        "restrict anonymous": "2",
        "map to guest": "Bad User" if smb.allow_guests else "Never",
        "guest account": GUEST_USER,
        "wide links": "no",
        "allow insecure wide links": "no",
        "usershare path": "",
        "load printers": "no",
        "printing": "bsd",
        "printcap name": "/dev/null",
        "disable spoolss": "yes",
        # What Windows expects to be kept with files: attributes and inheritance flags as extended attributes. Windows'
        # permissions are mapped to POSIX ACLs. vfs_acl_xattr(8) would keep them whole, but what a user makes is then his
        # alone, or, with `ignore system acls`, `rw` for everybody whatever the share's masks say. vfs_streams_xattr(8)
        # would keep alternate streams, but of a few KiB on ext4, 64 KiB on XFS: a larger one fails, where a client that is
        # told of no streams puts it into a file. (All measured, Samba 4.17.12.) A site can have both by `share_options`:
        # docs/ARCHITECTURE.md, "Permissions".
        "store dos attributes": "yes",
        "ea support": "yes",
        "map acl inherit": "yes",
        "private dir": layout.private_dir,
        "state directory": layout.state_dir,
        "lock directory": layout.lock_dir,
        "cache directory": layout.cache_dir,
        "pid directory": layout.pid_dir,
        "ncalrpc dir": layout.ncalrpc_dir,
        "passdb backend": f"tdbsam:{layout.private_dir}/passdb.tdb",
        "log file": f"{layout.log_dir}/smbd.log",
        "max log size": "5000",
        "pvesmb:uid": server.uid,
    }
    if layout.nt_acl_attribute:
        result["acl_xattr:security_acl_name"] = layout.nt_acl_attribute
    return result | {options.canonical(name): value for name, value in site_options.items()}


def needs_restart(old: bytes | None, new: bytes) -> bool:
    """Whether an smbd that was started with `old` has to be started anew for `new` (its address or port, say), or takes the
    difference over by itself. `None` means that it is not known what it was started with."""
    if old is None:
        return True
    before, after = _parsed(old), _parsed(new)
    return any(before.get(name) != after.get(name) for name in before.keys() | after.keys() if name not in _RELOADABLE)


def _parsed(data: bytes) -> dict[str, str]:
    lines = (line.strip() for line in data.decode("utf-8", "replace").splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#;[")
    return {name.strip(): value.strip() for name, _, value in pairs}


def _encryption(server: Server) -> str:
    """`off` would also forbid a single share to require it, therefore `if_required` (smb.conf(5))."""
    smb = server.spec.smb
    if smb.encryption is Demand.REQUIRED:
        return "required"
    return "desired" if smb.encryption is Demand.DESIRED and not smb.allow_guests else "if_required"


def _network(layout: Layout, endpoints: Sequence[tuple[str, int]]) -> dict[str, str]:
    """Without a mask Samba looks an address up among the interfaces, where 127.0.0.2 does not stand: addresses of loopback
    have their network's mask. The others have none: with one, smbd 4.17.12 dumps core if the address is missing from the
    host; without, it says that there is no interface."""
    ports = {"smb ports": " ".join(dict.fromkeys(str(port) for _, port in endpoints)) or "445"}
    addresses = [ipaddress.ip_address(address) for address, _ in endpoints]
    if layout.every_address or not addresses or any(address.is_unspecified for address in addresses):
        return ports
    shown = [f"{a}/8" if a.version == 4 and a.is_loopback else str(a) for a in dict.fromkeys(addresses)]
    return ports | {"interfaces": " ".join(shown), "bind interfaces only": "yes"}
