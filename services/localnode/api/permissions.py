"""Who may do what: the rules of PVE::AccessControl and PVE::RPCEnvironment, without their files.

The deepest entry on the way to a path replaces what was inherited; a pool lends its rights to its guests, without
propagation (value 0); a token with `privsep` has what both it and its user have; root@pam has everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from services.localnode.api.refusal import denied

_VM = (
    "Allocate Audit Backup Clone Config.CDROM Config.CPU Config.Cloudinit Config.Disk Config.HWType Config.Memory "
    "Config.Network Config.Options Console GuestAgent.Audit GuestAgent.FileRead GuestAgent.FileSystemMgmt "
    "GuestAgent.FileWrite GuestAgent.Unrestricted Migrate PowerMgmt Replicate Snapshot Snapshot.Rollback"
)
_GROUPS = {
    "VM": _VM,
    "Datastore": "Allocate AllocateSpace AllocateTemplate Audit",
    "Sys": "AccessNetwork Audit Console Incoming Modify PowerMgmt Syslog",
    "Pool": "Allocate Audit",
    "SDN": "Allocate Audit Use",
    "Mapping": "Audit Modify Use",
    "User": "Modify",
    "Group": "Allocate",
    "Realm": "Allocate AllocateUser",
    "Permissions": "Modify",
}
PRIVILEGES = frozenset(f"{group}.{name}" for group, names in _GROUPS.items() for name in names.split())

#: Roles that every node has, as far as our services' administrators grant them.
BUILTIN_ROLES: Mapping[str, frozenset[str]] = {
    "Administrator": PRIVILEGES,
    "NoAccess": frozenset(),
    "PVESDNUser": frozenset({"SDN.Audit", "SDN.Use"}),
    "PVEDatastoreUser": frozenset({"Datastore.AllocateSpace", "Datastore.Audit"}),
    "PVEAuditor": frozenset(
        ["Datastore.Audit", "Mapping.Audit", "Pool.Audit", "SDN.Audit", "Sys.Audit", "VM.Audit", "VM.GuestAgent.Audit"]
    ),
}

#: Paths that a listing of effective rights always looks at (recorded: access-007).
_TOP = ("/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms")


@dataclass(frozen=True)
class AclEntry:
    """One grant. `subject` is a user, or a token as `user@realm!name`."""

    path: str
    subject: str
    role: str
    propagate: bool = True


@dataclass(frozen=True)
class AccessFacts:
    """What the rules look at."""

    acl: Sequence[AclEntry]
    roles: Mapping[str, frozenset[str]]
    #: Tokens by full id, and whether their rights are separate from their user's.
    privsep: Mapping[str, bool]
    #: The pool of each guest.
    pool_of: Mapping[int, str]
    pools: Iterable[str]


@dataclass(frozen=True)
class Caller:
    """Who makes a call: a user by ticket, or one of its tokens."""

    user: str
    token: str = ""

    @property
    def id(self) -> str:
        return f"{self.user}!{self.token}" if self.token else self.user

    @property
    def is_root_login(self) -> bool:
        """The password login of root@pam; its tokens are refused some things that it may do."""
        return self.id == "root@pam"


def permissions(facts: AccessFacts, who: str, path: str) -> dict[str, int]:
    """The rights on a path, each with 1 if it also holds below."""
    user, _, token = who.partition("!")
    if token:
        separate = facts.privsep.get(who)
        if separate is None:
            return {}
        of_user = permissions(facts, user, path)
        if not separate:
            return of_user
        own = _granted(facts, who, path)
        return {name: of_user[name] and value for name, value in own.items() if name in of_user}
    if user == "root@pam":
        return dict.fromkeys(PRIVILEGES, 1)
    return _granted(facts, user, path)


def effective(facts: AccessFacts, who: str) -> dict[str, dict[str, int]]:
    """Rights on every path of interest where there are any: `GET /access/permissions`."""
    paths = {*_TOP, *(entry.path for entry in facts.acl), *(f"/pool/{pool}" for pool in facts.pools)}
    paths |= {f"/vms/{vmid}" for vmid in facts.pool_of}
    found = {path: permissions(facts, who, path) for path in sorted(paths)}
    return {path: rights for path, rights in found.items() if rights}


@dataclass(frozen=True)
class Rights:
    """The checks of one caller's calls."""

    facts: AccessFacts
    caller: Caller

    def has(self, path: str, *privileges: str) -> bool:
        """All of them."""
        held = permissions(self.facts, self.caller.id, path)
        return all(name in held for name in privileges)

    def has_any(self, path: str, *privileges: str) -> bool:
        held = permissions(self.facts, self.caller.id, path)
        return any(name in held for name in privileges)

    def need(self, path: str, *privileges: str) -> None:
        """All of them, or a refusal that names the first that is missing."""
        for name in privileges:
            if not self.has(path, name):
                raise denied(f"{path}, {name}")

    def need_any(self, path: str, *privileges: str) -> None:
        if not self.has_any(path, *privileges):
            raise denied(f"{path}, {'|'.join(privileges)}")

    def need_vm(self, vmid: int, pool: str, *privileges: str) -> None:
        """On a guest, or on the pool that it is about to join."""
        if not (pool and self.has(f"/pool/{pool}", *privileges)):
            self.need(f"/vms/{vmid}", *privileges)


def _granted(facts: AccessFacts, who: str, path: str) -> dict[str, int]:
    rights = _of_roles(facts, _roles(facts, who, path))
    parts = path.split("/")
    if len(parts) == 3 and parts[1] == "vms" and parts[2].isdigit() and int(parts[2]) in facts.pool_of:
        lent = _of_roles(facts, _roles(facts, who, f"/pool/{facts.pool_of[int(parts[2])]}"))
        for name in lent:
            rights.setdefault(name, 0)
    return rights


def _roles(facts: AccessFacts, who: str, path: str) -> dict[str, bool]:
    """The roles on a path. The walk ends at the path itself, where entries count that do not propagate too."""
    found: dict[str, bool] = {}
    steps = [part for part in path.split("/") if part]
    for depth in range(len(steps) + 1):
        here = "/" + "/".join(steps[:depth])
        entries = [e for e in facts.acl if e.path == here and e.subject == who]
        new = {e.role: e.propagate for e in entries if e.propagate or depth == len(steps)}
        found = new or found
    return {} if "NoAccess" in found else found


def _of_roles(facts: AccessFacts, roles: Mapping[str, bool]) -> dict[str, int]:
    rights: dict[str, int] = {}
    for role, propagate in roles.items():
        for name in facts.roles.get(role, frozenset()):
            rights[name] = max(rights.get(name, 0), int(propagate))
    return rights
