"""A password is nowhere but in Samba: not in the store, logs, arguments, environments, errors or metrics, nor in what a
crash leaves behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pvesmb
import pytest
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.e2e.deadly import Moment
from tests.e2e.deployment import Deployment
from tests.e2e.faults.canary import files, found_in, holding, is_secret, named, plant, texts, watching
from tests.e2e.faults.raw import Raw, methods, raw
from tests.e2e.words import CANARY, Server, password, user_rule, users
from tests.figures import Figures

#: What no field takes, so that each fails while a password is aboard.
BAD = "\n%/..\0]"
#: A field that no message has, with a password in it.
STRANGER = b"\xfa\x3e" + bytes([len(CANARY)]) + CANARY.encode()


def base(server: Server, method: MethodDescriptor) -> Any:
    """A good request: on what is there, or for something new."""
    message: Any = GetMessageClass(method.input_type)()
    backend = server.name.rpartition("/fileServers/")[0]
    kind = {"ShareService": "share", "UserService": "user", "GroupService": "group"}.get(method.containing_service.name)
    name = {"share": server.share("docs"), "user": server.user("ann"), "group": server.group("crew")}.get(
        kind or "", server.name
    )
    fields = method.input_type.fields_by_name
    resource = kind or "file_server"
    if "Operation" in method.input_type.full_name:
        name = f"{backend}/operations/none"
    if "parent" in fields:
        message.parent = server.name if kind else backend
    if f"{resource}_id" in fields:
        setattr(message, f"{resource}_id", "new")
    if "name" in fields:
        message.name = name
    if method.name.startswith("Update"):
        getattr(message, resource).name = name
    if "validate_only" in fields:
        message.validate_only = True
    return message


def attempts(server: Server, deep: bool) -> Iterator[tuple[str, bytes, str]]:
    """Calls with a password in them: their method, request, and where it is.

    In each field that is for one; together with a fault in each other field, one after the other; where no such field is,
    in one that the contract does not know; and, wrongly typed, in every message of every other method.
    """
    carrying = b""
    for path, method in methods():
        routes = list(texts(method.input_type))
        secrets = [route for route in routes if is_secret(route[-1])]
        for secret in secrets:
            good = base(server, method)
            plant(good, secret, CANARY)
            carrying = carrying or good.SerializeToString()
            yield path, good.SerializeToString(), named(secret)
            yield path, good.SerializeToString() + b"\xff", f"{named(secret)} of no message"
            long = base(server, method)
            plant(long, secret, CANARY * 100)
            yield path, long.SerializeToString(), f"{named(secret)}, too long"
            for other in routes if deep else routes[::4]:
                if other not in secrets:
                    bad = base(server, method)
                    plant(bad, secret, CANARY)
                    plant(bad, other, BAD)
                    yield path, bad.SerializeToString(), f"{named(secret)} with a bad {named(other)}"
        yield path, base(server, method).SerializeToString() + STRANGER, "unknown field"
        yield path, STRANGER + b"\xff", "no message"
        yield path, carrying, "another message"


def everything_told(call: Raw, server: Server) -> str:
    """All answers of all lists, operations with their errors among them."""
    told = ""
    for path, method in methods():
        if method.name.startswith(("List", "Get")):
            request = base(server, method)
            if "page_size" in method.input_type.fields_by_name:
                request.page_size = 1000
            if isinstance(request, operations_pb2.ListOperationsRequest):
                request.name = server.name.rpartition("/fileServers/")[0]
            try:
                told += str(GetMessageClass(method.output_type).FromString(call(path, request.SerializeToString())))
            except pvesmb.PvesmbError as error:
                told += text_of(error)
    return told


def text_of(error: pvesmb.PvesmbError) -> str:
    return f"{error} {error.help} {error.metadata} {error.field_violations}"


def real_changes(deployment: Deployment, server: Server) -> list[str]:
    """Passwords that are set, and some that are refused by steps; what the errors said."""
    client, told = deployment.client, list[str]()

    def refused(act: Callable[[], Any]) -> None:
        with pytest.raises(pvesmb.PvesmbError) as raised:
            act().result(timeout=60)
        told.append(text_of(raised.value))

    client.users.reset_password(server.user("ann"), password("ann", 2), end_sessions=True).result(timeout=60)
    client.users.create(server.name, "carl", pvesmb.User(password=password("carl"))).result(timeout=60)
    again = pvesmb.User(password=password("ann", 3))
    refused(lambda: client.users.create(server.name, "ann", again))
    bad, spec = deployment.failing_share(), deployment.spec()
    refused(lambda: client.file_servers.create(deployment.backend, "bad", spec, users=users("ann"), shares={"b": bad}))
    for moment in (
        Moment("apply", "ensure", "before", victim="step"),
        Moment("confirm", "ensure", "before", victim="step"),
        Moment("apply", "remove", "before", victim="step"),
    ):
        moment.write(deployment.state)
        if moment.action == "remove":
            refused(lambda: client.users.delete(server.user("carl")))
        else:
            refused(lambda: client.users.create(server.name, "dora", pvesmb.User(password=password("dora"))))
            refused(lambda m=moment: crashed_reset(deployment, server, m))  # type: ignore[misc]
    return told


def crashed_reset(deployment: Deployment, server: Server, moment: Moment) -> Any:
    moment.write(deployment.state)
    return deployment.client.users.reset_password(server.user("ann"), password("ann", 4))


def core_limits(pid: int) -> list[str]:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line for line in lines if line.startswith("Max core file size")).split()[4:6]


def test_nowhere(deploy: Callable[..., Deployment], full: bool, figures: Figures) -> None:
    deployment = deploy(deadly=True, log_level="debug")
    with watching() as watch, raw(deployment) as call:
        server = deployment.new_server(
            users=users("ann", "ben"),
            groups={"crew": pvesmb.Group(members=["ben"])},
            shares={"docs": pvesmb.Share(access=[user_rule("ann")])},
        )
        told = real_changes(deployment, server)
        made = 0
        for path, request, where in attempts(server, full):
            made += 1
            try:
                answer = call(path, request)
            except pvesmb.PvesmbError as error:
                assert error.reason != "INTERNAL", (path, where)
                told.append(text_of(error))
                answer = b""
            assert not found_in(answer), (path, where)
        answers = everything_told(call, server)
        pids = (deployment.gateway.pid, deployment.service.pid, deployment.smbd(server))
        assert {limit for pid in pids for limit in core_limits(pid)} == {"0"}, "no core files"
        deployment.kill()
        searched = len(files(deployment.state))
        assert holding(deployment.state) == [], "while the store's journal is as the kill has left it"
        deployment.start()
        assert server.smb("ann", "docs", "ls", number=4).ok, "set before the crash"
        deployment.client.backends.list()
    assert watch.hits == []
    assert not [text for text in told if found_in(text)]
    assert not found_in(answers)
    assert not [name for name, text in deployment.metrics().items() if found_in(text)]
    log = deployment.service.log.read_text()
    assert "nobody foresaw" in log and "Traceback" in log, "the crashes are in the log"
    deployment.stop()
    deployment.gateway.stop()
    assert holding(deployment.state) == []
    assert deployment.rows("SELECT key FROM secrets") == []
    figures.put("faults", "calls with a password, in every field for one and beside a fault in every other", made)
    figures.put("faults", "files, arguments and environments searched for them", f"{searched}, {watch.looks}")
    figures.put("faults", "passwords found", 0)


def test_the_search_finds(tmp_path: Path) -> None:
    """Else the test above would say nothing."""
    secret = password("ann")
    (tmp_path / "leak").write_text(f"x{secret}")
    (tmp_path / "wide").write_bytes(secret.encode("utf-16-le"))
    (tmp_path / "hex").write_text(f"x{secret.encode().hex()}")
    assert len(holding(tmp_path)) == 3
    with watching() as watch:
        pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {"LEAK": secret})
        while not watch.hits:
            os.sched_yield()
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    assert watch.hits[0].startswith(f"{pid} environ")


def test_every_secret_of_the_contract_is_planted() -> None:
    secrets = {named(route) for _, method in methods() for route in texts(method.input_type) if is_secret(route[-1])}
    assert {"password", "user.password", "users.user.password", "file_server.active_directory.join_password"} <= secrets
    assert "file_server.active_directory.offline_join_blob" in secrets
