"""A share's section in smb.conf(5), rendered from its desired state.

Rights are said in one way only: `read only = yes` and a `write list`. A `read list` would change nothing, since Samba lets
the write list win, which is what the contract wants: the highest level counts, and `invalid users` (DENY) before all.
"""

from __future__ import annotations

from collections.abc import Mapping

from services.core.domain.file_server import Demand
from services.core.domain.resource import Resource
from services.core.domain.share import AccessLevel, AccessRule, DirectoryStorage, GuestAccess, PrincipalKind, ShareSpec
from services.core.errors import InvalidField
from services.samba import options
from services.samba.instance import GUEST_USER, PROBE_USER, USERS_GROUP, Server
from services.samba.layout import Layout

Section = dict[str, str]
Share = Resource[ShareSpec]

#: The trailing `$` hides it from Windows.
PROBE_SHARE = "pvesmb-probe$"


def section(server: Server, share: Share, site_options: Mapping[str, str]) -> Section:
    """All options of the share by their canonical names. The site's options come first: none of them replaces what the
    share itself says. The caller's own come last."""
    spec = share.spec
    result = {options.canonical(name): value for name, value in site_options.items()}
    result |= {
        "path": _path(share),
        "comment": spec.comment,
        "browseable": _yes(spec.browseable),
        "guest ok": _yes(spec.guest_access is not GuestAccess.NONE),
        "create mask": spec.file_creation.create_mask,
        "directory mask": spec.file_creation.directory_mask,
    }
    result |= _access(spec) | _hosts(spec) | _owners(spec) | _encryption(server, spec)
    if spec.max_connections:
        result["max connections"] = str(spec.max_connections)
    result |= options.cleaned(spec.smb_options)
    result |= {"pvesmb:uid": share.uid, "pvesmb:generation": str(share.generation)}
    return {name: value for name, value in result.items() if value}


def probe(server: Server, layout: Layout, site_options: Mapping[str, str]) -> Section:
    """The hidden share where PROBE_USER has rights, with the VFS modules of the others: connecting to it proves that they
    load, and that people can log in. The modules come from the site's options only, so one probe stands for all shares."""
    site = {options.canonical(name): value for name, value in site_options.items()}
    return {name: value for name, value in site.items() if name == "vfs objects" or ":" in name} | {
        "path": layout.probe_path,
        "comment": "Used by the gateway to see that the server works",
        "browseable": "no",
        "read only": "no",
        "valid users": PROBE_USER,
        "pvesmb:uid": server.uid,
    }


def text(name: str, section: Mapping[str, str]) -> str:
    """The section as smb.conf(5) would show it."""
    return f"[{name}]\n" + "".join(f"  {key} = {value}\n" for key, value in section.items())


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _path(share: Share) -> str:
    """smb.conf(5) cuts spaces and quotes off the ends of a value, so a path that has them would be another one."""
    path = str(share.assigned["path"])
    if path != path.strip(' "') or not path.isprintable():
        raise InvalidField.of("directory.path", "must not end with a space or a quote")
    return path


def _name(rule: AccessRule) -> str:
    if rule.kind is PrincipalKind.EVERYONE:
        return f"@{USERS_GROUP}"
    return f"@{rule.id}" if rule.kind is PrincipalKind.GROUP else rule.id


def _access(spec: ShareSpec) -> Section:
    def names(*levels: AccessLevel) -> list[str]:
        return sorted(_name(rule) for rule in spec.access if rule.level in levels)

    def guests(*levels: GuestAccess) -> list[str]:
        return [GUEST_USER] if spec.guest_access in levels else []

    valid = names(AccessLevel.READ, AccessLevel.READ_WRITE, AccessLevel.ADMIN)
    valid += guests(GuestAccess.READ, GuestAccess.READ_WRITE)
    write = names(AccessLevel.READ_WRITE, AccessLevel.ADMIN) + guests(GuestAccess.READ_WRITE)
    return {
        # An empty list would let everybody in: nobody is said by naming one whom `invalid users` keeps out.
        "valid users": " ".join(valid or [PROBE_USER]),
        "invalid users": " ".join([PROBE_USER, *names(AccessLevel.DENY)]),
        "admin users": " ".join(names(AccessLevel.ADMIN)),
        "read only": "yes",
        "write list": "" if spec.read_only else " ".join(write),
    }


def _hosts(spec: ShareSpec) -> Section:
    """smb.conf(5) lets a client in that neither list names, and this machine itself unless it is denied; the contract does
    not where there is a list of those who may. An address of `hosts allow` wins over `hosts deny`, so with a list of those
    who may, everybody else can be denied."""
    if spec.hosts_allow:
        return {"hosts allow": " ".join(spec.hosts_allow), "hosts deny": "ALL"}
    return {"hosts deny": " ".join(spec.hosts_deny)}


def _owners(spec: ShareSpec) -> Section:
    """A guest is in no group of the file server, and could not enter a directory that belongs to one. On a share for guests
    everybody acts in the directory's group (after the access rules are decided), which changes nothing for users."""
    group = spec.file_creation.force_group
    if not group and spec.guest_access is not GuestAccess.NONE:
        group = (spec.storage.group if isinstance(spec.storage, DirectoryStorage) else "") or USERS_GROUP
    return {"force user": spec.file_creation.force_user, "force group": group}


def _encryption(server: Server, spec: ShareSpec) -> Section:
    """A guest's session has no key: where guests may come, encryption cannot be asked for by the server as a whole
    (smbclient then fails with INVALID_PARAMETER_MIX, measured with 4.17.12), so each share without guests asks for it."""
    if spec.encryption_required:
        return {"server smb encrypt": "required"}
    smb = server.spec.smb
    if smb.allow_guests and smb.encryption is Demand.DESIRED and spec.guest_access is GuestAccess.NONE:
        return {"server smb encrypt": "desired"}
    return {}
