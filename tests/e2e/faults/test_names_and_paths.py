"""Bad names and paths: each is refused with its exact error, and leaves everything as it was."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import partial
from typing import Any

import pvesmb

from tests.e2e import modes
from tests.e2e.faults.scene import (
    Bad,
    Scene,
    create_group,
    create_server,
    create_share,
    create_user,
    refuse_all,
)
from tests.e2e.native import NativeDeployment
from tests.e2e.words import user_rule, users
from tests.figures import Figures

EVERYWHERE: dict[str, str] = {
    "empty": "",
    "a slash": "a/b",
    "two dots": "..",
    "a dot": ".",
    "NUL": "a\0b",
    "newline": "a\nb",
    "carriage return": "a\rb",
    "tab": "a\tb",
    "percent": "a%b",
    "bracket": "a]b",
    "section": "a]\n[global",
    "81 characters": "x" * 81,
    "backslash": "a\\b",
    "colon": "a:b",
    "a space first": " a",
    "a space last": "a ",
    "an override of direction": "a\u202eb",
    "a line separator": "a\u2028b",
}
SHARES = EVERYWHERE | {
    **{f"the character {c}": f"a{c}b" for c in '"*?<>|+=;,['},
    **{f"reserved {name}": name for name in ("global", "GLOBAL", "homes", "printers", "print$", "IPC$", "ipc$", "ADMIN$")},
    "ours": "pvesmb-probe",
    "ours in capitals": "PVESMB-probe",
    "too many bytes": "𝔞" * 80,
    "a dot last": "a.",
    "two spaces": "a  b",
    "letters apart from their accents": "cafe\u0301",
}
ACCOUNTS = EVERYWHERE | {
    "33 characters": "x" * 33,
    "capitals": "Ann",
    "a digit first": "1ann",
    "a hyphen first": "-ann",
    "a dot last": "ann.",
    "an umlaut": "jürgen",
    **{f"reserved {name}": name for name in ("root", "nobody", "daemon", "guest", "administrator", "everyone", "sudo")},
    "ours": "pvesmb-guest",
}
SERVERS = EVERYWHERE | {
    "41 characters": "x" * 41,
    "capitals": "Files",
    "a digit first": "1files",
    "a hyphen last": "files-",
    "an underscore": "my_files",
}


def names() -> Iterator[Bad]:
    field = "FIELD_INVALID"
    for what, id in SHARES.items():
        yield Bad(f"share: {what}", partial(create_share, id=id), field, "share_id")
        first = {id: pvesmb.Share()}
        yield Bad(f"first share: {what}", partial(create_server, shares=first), field, "shares[0].share_id")
    for what, id in ACCOUNTS.items():
        yield Bad(f"user: {what}", partial(create_user, id=id), field, "user_id")
        yield Bad(f"first user: {what}", partial(create_server, users=users(id)), field, "users[0].user_id")
        yield Bad(f"group: {what}", partial(create_group, id=id), field, "group_id")
        group = {id: pvesmb.Group()}
        yield Bad(f"first group: {what}", partial(create_server, groups=group), field, "groups[0].group_id")
    for what, id in SERVERS.items():
        if id:
            yield Bad(f"file server: {what}", partial(create_server, id=id), field, "file_server_id")
    kinds = {"shares": "share", "users": "user", "groups": "group"}
    for what, (kind, method) in itertools.product(EVERYWHERE, itertools.product(kinds, ("get", "delete"))):
        # `a b` is no id, but neither is it told from one that does not exist.
        broken = not EVERYWHERE[what].isprintable() or "/" in EVERYWHERE[what] or not EVERYWHERE[what]
        reason, code = (field, pvesmb.InvalidArgument) if broken else ("RESOURCE_NOT_FOUND", pvesmb.NotFound)

        def act(s: Scene, kind: str = kind, method: str = method, id: str = EVERYWHERE[what]) -> Any:
            return getattr(getattr(s.client, kind), method)(f"{s.server.name}/{kind}/{id}")

        yield Bad(f"{method} of a {kinds[kind]}: {what}", act, reason, "name" if broken else "", code)


def case() -> Iterator[Bad]:
    exists: dict[str, Any] = {"reason": "RESOURCE_EXISTS", "code": pvesmb.AlreadyExists}
    for id in ("docs", "DOCS", "Docs", "STRASSE", "strasse", "Straße"):
        yield Bad(f"share {id}", partial(create_share, id=id), **exists)
    both = {"plans": pvesmb.Share(), "PLANS": pvesmb.Share()}
    yield Bad("two first shares", lambda s: create_server(s, shares=both), "FIELD_INVALID", "shares[1].share_id")
    yield Bad("user ANN", lambda s: create_user(s, "ANN"), "FIELD_INVALID", "user_id")
    yield Bad("group Crew", lambda s: create_group(s, "Crew"), "FIELD_INVALID", "group_id")
    yield Bad("file server", lambda s: create_server(s, s.server.id.upper()), "FIELD_INVALID", "file_server_id")
    yield Bad("the same user", lambda s: create_user(s, "ann"), **exists)
    yield Bad("the same group", lambda s: create_group(s, "crew"), **exists)
    yield Bad("the same file server", lambda s: create_server(s, s.server.id), **exists)
    yield Bad("a user like a group", lambda s: create_user(s, "crew"), **exists)
    yield Bad("a group like a user", lambda s: create_group(s, "ann"), **exists)


def paths(scene: Scene, full: bool) -> Iterator[Bad]:
    assert isinstance(scene.deployment, NativeDeployment)
    data, state = scene.deployment.data, scene.deployment.service_dir
    link, file = data / f"link-{scene.server.id}", data / f"file-{scene.server.id}"
    link.symlink_to("/var")
    (data / f"dangling-{scene.server.id}").symlink_to(data / "nowhere")
    file.write_text("no directory")
    denied: dict[str, Any] = {"reason": "PATH_NOT_ALLOWED", "code": pvesmb.PermissionDenied}
    unsuitable: dict[str, Any] = {"reason": "PATH_UNSUITABLE", "code": pvesmb.FailedPrecondition}
    outside = [
        "/",
        "/etc",
        "/etc/samba",
        f"{data}x",
        str(data.parent),
        str(data),
        str(state),
        f"{state}/servers",
        "/proc/self",
    ]
    through = [str(link), f"{link}/spool", f"{link}/spool/deep", str(data / f"dangling-{scene.server.id}")]
    spelled = ["x", "./x", f"{data}/../up", f"{data}/a/../b", f"{data}/./a", f"{data}/a/", f"{data}//a", f"/{data}/a"]
    spelled += [f"{data}/a\0b", f"{data}/a\nb", f"{data}/%U", f"{data}/" + "x" * 1024]
    spelled += [f"{data}/" + "y" * 256, f"{data}/" + "ü" * 128, f"{data}/q/" + "z" * 256 + "/a"]
    kinds: list[tuple[list[str], dict[str, Any]]] = [
        (outside, denied),
        (through, denied),
        ([str(file), f"{file}/below"], unsuitable),
        (spelled, {"reason": "FIELD_INVALID", "field": "share.directory.path"}),
    ]
    for path, error in [(path, error) for bad, error in kinds for path in bad]:
        fields: dict[str, Any] = {"directory": pvesmb.DirectoryStorage(path=path)}
        yield Bad(f"path {path!r}", partial(create_share, **fields), **error)
        if error is not denied or path in outside or full:  # else steps make a file server first
            first = {"bad": pvesmb.Share(access=[user_rule("ann")], **fields)}
            at_first = error | ({"field": "shares[0].share.directory.path"} if "field" in error else {})
            yield Bad(f"first path {path!r}", partial(create_server, shares=first, users=users("ann")), **at_first)


def test_names(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "names with /, .., NUL, newline, %, ], of 81 characters, reserved", list(names()))


def test_names_that_differ_in_case(scene: Scene, figures: Figures) -> None:
    refuse_all(scene, figures, "names that exist, or differ in case only", list(case()))


@modes.only("native")
def test_paths(scene: Scene, full: bool, figures: Figures) -> None:
    refuse_all(
        scene, figures, "paths outside the roots, through symbolic links, or spelled badly", list(paths(scene, full))
    )
