"""Every call that this node knows. What is not here is answered with 501, as a real node answers what it lacks."""

from __future__ import annotations

from collections.abc import Sequence

from services.localnode.api import parameters as p
from services.localnode.api.routes import Route
from services.localnode.calls import access, cluster, config, create, power, snapshots, status, storage, tasks
from services.localnode.node import Node

_N = "/nodes/{node}"
_CT = f"{_N}/lxc/{{vmid}}"
_ST = f"{_N}/storage/{{storage}}"
_USER = "/access/users/{userid}"

TABLE: Sequence[Route[Node]] = (
    Route("GET", "/version", p.NONE, cluster.version),
    Route("POST", "/access/ticket", p.TICKET, access.ticket),
    Route("GET", "/access/permissions", p.PERMISSIONS, access.own_permissions),
    Route("POST", "/access/users", p.CREATE_USER, access.create_user),
    Route("POST", "/access/roles", p.CREATE_ROLE, access.create_role),
    Route("PUT", "/access/acl", p.CHANGE_ACL, access.change_acl),
    Route("POST", f"{_USER}/token/{{tokenid}}", p.CREATE_TOKEN, access.create_token),
    Route("DELETE", f"{_USER}/token/{{tokenid}}", p.NONE, access.delete_token),
    Route("GET", "/pools", p.GET_POOL, access.pools),
    Route("POST", "/pools", p.CREATE_POOL, access.create_pool),
    Route("PUT", "/pools", p.CHANGE_POOL, access.change_pool),
    Route("GET", "/pools/{poolid}", p.NONE, access.pool),
    Route("PUT", "/pools/{poolid}", {k: v for k, v in p.CHANGE_POOL.items() if k != "poolid"}, access.change_pool),
    Route("DELETE", "/pools/{poolid}", p.NONE, access.delete_pool),
    Route("GET", "/cluster/nextid", p.NEXTID, cluster.nextid),
    Route("GET", "/cluster/resources", p.RESOURCES, cluster.resources),
    Route("GET", "/nodes", p.NONE, cluster.nodes),
    Route("GET", f"{_N}/status", p.NONE, cluster.node_status),
    Route("GET", f"{_N}/network", p.NETWORKS, cluster.bridges),
    Route("PUT", "/storage/{storage}", p.CHANGE_STORAGE, storage.change),
    Route("GET", f"{_N}/storage", p.STORAGES, storage.storages),
    Route("GET", f"{_ST}/status", p.NONE, storage.status),
    Route("GET", f"{_ST}/content", p.CONTENT, storage.content),
    Route("DELETE", f"{_ST}/content/{{volid*}}", p.NONE, storage.delete),
    Route("POST", f"{_ST}/upload", p.UPLOAD, storage.upload),
    Route("GET", f"{_N}/lxc", p.NONE, status.containers),
    Route("POST", f"{_N}/lxc", p.CREATE_CONTAINER, create.create),
    Route("DELETE", _CT, p.DELETE_CONTAINER, power.delete),
    Route("GET", f"{_CT}/config", {"current": p.FLAG}, config.get),
    Route("PUT", f"{_CT}/config", p.CHANGE_CONTAINER, config.put),
    Route("GET", f"{_CT}/pending", p.NONE, config.listed),
    Route("PUT", f"{_CT}/resize", p.RESIZE_CONTAINER, config.resize),
    Route("GET", f"{_CT}/snapshot", p.NONE, snapshots.listed),
    Route("POST", f"{_CT}/snapshot", p.SNAPSHOT, snapshots.create),
    Route("DELETE", f"{_CT}/snapshot/{{snapname}}", {"force": p.FLAG}, snapshots.delete),
    Route("POST", f"{_CT}/snapshot/{{snapname}}/rollback", p.NONE, snapshots.rollback),
    Route("GET", f"{_CT}/status/current", p.NONE, status.current),
    Route("POST", f"{_CT}/status/start", p.START, power.start),
    Route("POST", f"{_CT}/status/stop", p.STOP, power.stop),
    Route("POST", f"{_CT}/status/shutdown", p.SHUTDOWN, power.shutdown),
    Route("GET", f"{_CT}/interfaces", p.NONE, status.interfaces),
    Route("GET", f"{_N}/tasks", p.TASK_LIST, tasks.tasks),
    Route("GET", f"{_N}/tasks/{{upid}}/status", p.NONE, tasks.status),
    Route("GET", f"{_N}/tasks/{{upid}}/log", p.TASK_LOG, tasks.log),
)
