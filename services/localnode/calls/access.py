"""`/access` and `/pools`: tickets, users, roles, grants, tokens, pools."""

from __future__ import annotations

from typing import Any

from services.localnode.api.formats import split_list
from services.localnode.api.permissions import PRIVILEGES, AclEntry, effective, permissions
from services.localnode.api.refusal import bad_parameters, failed
from services.localnode.api.routes import Call
from services.localnode.node import Node
from services.localnode.state import Token, new_secret, secret_digest


def ticket(node: Node, call: Call) -> Any:
    name = call.text("username")
    return node.logins.ticket(name if "@" in name else f"{name}@{call.text('realm', 'pam')}", call.text("password"))


def own_permissions(node: Node, call: Call) -> Any:
    """Of the caller; of somebody else only with Sys.Audit on /access."""
    who = call.text("userid", call.rights.caller.id)
    if who != call.rights.caller.id:
        call.rights.need("/access", "Sys.Audit")
    path = call.text("path")
    if not path:
        return effective(call.rights.facts, who)
    found = permissions(call.rights.facts, who, _normal(path))
    return {_normal(path): found} if found else {}


def create_user(node: Node, call: Call) -> Any:
    user = call.text("userid")
    call.rights.need("/access/realm/" + user.rpartition("@")[2], "Realm.AllocateUser")
    with node.state.change() as facts:
        if user in facts.users:
            raise failed(f"create user failed: user '{user}' already exists")
        facts.users[user] = call.text("comment")


def create_role(node: Node, call: Call) -> Any:
    call.rights.need("/access", "Sys.Modify")
    name, privileges = call.text("roleid"), split_list(call.text("privs"))
    unknown = [privilege for privilege in privileges if privilege not in PRIVILEGES]
    if unknown:
        raise bad_parameters({"privs": f"invalid format - invalid privilege '{unknown[0]}'\n"})
    with node.state.change() as facts:
        if name in facts.snapshot().roles:
            raise failed(f"create role failed: role '{name}' already exists")
        facts.roles[name] = privileges


def change_acl(node: Node, call: Call) -> Any:
    path = _normal(call.text("path"))
    call.rights.need(path, "Permissions.Modify")
    subjects = split_list(call.text("users")) + split_list(call.text("tokens"))
    with node.state.change() as facts:
        for subject in subjects:
            if subject not in facts.users and subject not in facts.tokens:
                kind = "token" if "!" in subject else "user"
                raise failed(f"update ACL failed: {kind} '{subject}' does not exist")
        for role in split_list(call.text("roles")):
            if role not in facts.snapshot().roles:
                raise failed(f"update ACL failed: role '{role}' does not exist")
            for subject in subjects:
                same = (path, subject, role)
                facts.acl = [e for e in facts.acl if (e.path, e.subject, e.role) != same]
                if not call.flag("delete"):
                    facts.acl.append(AclEntry(path, subject, role, call.flag("propagate", True)))


def create_token(node: Node, call: Call) -> Any:
    """The secret is in this answer and nowhere else."""
    user, name = call.where["userid"], call.where["tokenid"]
    if call.rights.caller.id != user:
        call.rights.need("/access/users", "User.Modify")
    full, secret = f"{user}!{name}", new_secret()
    with node.state.change() as facts:
        if user not in facts.users:
            raise failed(f"no such user ('{user}')")
        if full in facts.tokens:
            raise bad_parameters({"tokenid": "Token already exists."})
        facts.tokens[full] = Token(secret_digest(secret), call.flag("privsep", True), call.text("comment"))
    info = {"privsep": str(int(call.flag("privsep", True)))}
    if call.text("comment"):
        info["comment"] = call.text("comment")
    return {"full-tokenid": full, "value": secret, "info": info}


def delete_token(node: Node, call: Call) -> Any:
    user = call.where["userid"]
    if call.rights.caller.id != user:
        call.rights.need("/access/users", "User.Modify")
    full = f"{user}!{call.where['tokenid']}"
    with node.state.change() as facts:
        if facts.tokens.pop(full, None) is None:
            raise failed(f"no such token '{call.where['tokenid']}' for user '{user}'")
        facts.acl = [entry for entry in facts.acl if entry.subject != full]


def create_pool(node: Node, call: Call) -> Any:
    pool = call.text("poolid")
    call.rights.need(f"/pool/{pool}", "Pool.Allocate")
    with node.state.change() as facts:
        if pool in facts.pools:
            raise failed(f"create pool failed: pool '{pool}' already exists")
        facts.pools[pool] = call.text("comment")


def change_pool(node: Node, call: Call) -> Any:
    pool = call.where.get("poolid") or call.text("poolid")
    call.rights.need(f"/pool/{pool}", "Pool.Allocate")
    with node.state.change() as facts:
        if pool not in facts.pools:
            raise failed(f"update pools failed: pool '{pool}' does not exist")
        if "comment" in call.values:
            facts.pools[pool] = call.text("comment")
        for vmid in (int(text) for text in split_list(call.text("vms"))):
            member = facts.pool_of.get(vmid)
            if call.flag("delete"):
                if member != pool:
                    raise failed(f"update pools failed: VM {vmid} is not a pool member")
                del facts.pool_of[vmid]
                continue
            if vmid not in facts.guests:
                raise failed(f"update pools failed: VM {vmid} does not exist")
            if member is not None and not call.flag("allow-move"):
                where = "already a pool member" if member == pool else f"already a member of pool '{member}'"
                raise failed(f"update pools failed: VM {vmid} is {where}")
            facts.pool_of[vmid] = pool


def delete_pool(node: Node, call: Call) -> Any:
    pool = call.where["poolid"]
    call.rights.need(f"/pool/{pool}", "Pool.Allocate")
    with node.state.change() as facts:
        if pool not in facts.pools:
            raise failed(f"delete pool failed: pool '{pool}' does not exist")
        if pool in facts.pool_of.values():
            raise failed(f"delete pool failed: pool '{pool}' is not empty")
        del facts.pools[pool]


def pools(node: Node, call: Call) -> Any:
    """All that may be seen; one with its members, still as a list, when it is named."""
    if "poolid" in call.values:
        return [_pool(node, call, call.text("poolid"))]
    with node.state.read() as facts:
        return [
            {"poolid": pool, **({"comment": comment} if comment else {})}
            for pool, comment in sorted(facts.pools.items())
            if call.rights.has(f"/pool/{pool}", "Pool.Audit")
        ]


def pool(node: Node, call: Call) -> Any:
    return _pool(node, call, call.where["poolid"])


def _pool(node: Node, call: Call, pool: str) -> dict[str, Any]:
    call.rights.need(f"/pool/{pool}", "Pool.Audit")
    with node.state.read() as facts:
        if pool not in facts.pools:
            raise failed(f"pool '{pool}' does not exist")
        members = [
            {
                "id": f"lxc/{vmid}", "node": node.name, "type": "lxc", "vmid": vmid,
                "name": facts.guests[vmid].config.get("hostname", ""),
            }
            for vmid, member in sorted(facts.pool_of.items()) if member == pool and vmid in facts.guests
        ]  # fmt: skip
        comment = facts.pools[pool]
        return {"poolid": pool, "members": members, **({"comment": comment} if comment else {})}


def _normal(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part)
