"""`/nodes/{node}/tasks`: everybody sees the own tasks, those with Sys.Audit on the node all."""

from __future__ import annotations

from typing import Any

from services.localnode.api.routes import Call
from services.localnode.node import Node
from services.localnode.tasks import Task, log_answer


def status(node: Node, call: Call) -> Any:
    return _seen(node, call).status()


def log(node: Node, call: Call) -> Any:
    task = _seen(node, call)
    return log_answer(node.tasks.log_lines(task), call.number("start"), call.number("limit", 50))


def tasks(node: Node, call: Call) -> Any:
    """Newest first. Without `source` only what has ended, as a node lists."""
    all_seen = call.rights.has(f"/nodes/{node.name}", "Sys.Audit")
    source = call.text("source", "archive")
    found = [task for task in node.tasks.all() if all_seen or _mine(call, task)]
    if source != "all":
        found = [task for task in found if bool(task.exitstatus) == (source == "archive")]
    if "vmid" in call.values:
        found = [task for task in found if task.id == call.text("vmid")]
    if call.text("typefilter"):
        found = [task for task in found if task.type == call.text("typefilter")]
    if call.flag("errors"):
        found = [task for task in found if task.exitstatus != "OK"]
    start = call.number("start")
    return [task.entry() for task in found[start : start + call.number("limit", 50)]]


def _seen(node: Node, call: Call) -> Task:
    task = node.tasks.get(call.where["upid"])
    if not _mine(call, task):
        call.rights.need(f"/nodes/{node.name}", "Sys.Audit")
    return task


def _mine(call: Call, task: Task) -> bool:
    """A user sees its tokens' tasks too, a token only its own."""
    caller = call.rights.caller
    return task.caller == caller.id or (not caller.token and task.owner()["user"] == caller.user)
