"""The steps that make a Samba instance what its file server says: the same in every mode."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from services.core.domain.names import Kind
from services.core.domain.share import DirectoryStorage
from services.core.errors import NotConfirmed, OperationCancelled, PreconditionFailed, PvesmbError, SambaUnavailable
from services.core.steps import Change, Claim, Contents, Work
from services.samba import config, probe, shares
from services.samba.accounts import wanted
from services.samba.apply import (
    DELETE_TIMEOUT,
    TIMEOUT,
    account_files,
    ask,
    directory,
    error_of,
    known_users,
    probe_account,
    removal,
    within,
)
from services.samba.instance import Instances, Server
from services.samba.probe import Answer

#: Kind of the claims on share directories.
DIRECTORY = "directory"


class ConfigStep:
    """Directories of the instance, account files and smb.conf: what smbd needs to start. A running smbd takes a changed
    file over at once as far as it can; where `config.needs_restart` says so, the mode's own step restarts it."""

    name = "config"
    server_only = True

    def __init__(self, instances: Instances, site_options: Mapping[str, str] | None = None) -> None:
        self._instances = instances
        self._site = dict(site_options or {})

    def ensure(self, work: Work) -> None:
        server = work.server
        layout, endpoints = self._instances.layout(server), self._instances.endpoints(server)
        text = config.render(server, layout, endpoints, self._site)
        ask(
            self._instances,
            server,
            "configure",
            {
                **account_files(server, layout, wanted(work)),
                "directories": layout.directories,
                "probe_directory": {"path": layout.probe_path, "uid": int(server.assigned["probe_uid"])},
                "text": text,
                "check_text": text.replace(config.INCLUDE, ""),
                "parameters": config.parameters(server, layout, endpoints, self._site),
            },
        )

    def remove(self, work: Work) -> None:
        """Removes smb.conf; the instance's directories are its mode's."""
        self._instances.host(work.server).remove(self._instances.layout(work.server).conf)


class ApplyStep:
    """Accounts, share directories, registry and sessions of a batch, by one run of the agent script; the shares' sections
    go into the registry in one transaction."""

    name = "apply"
    server_only = False

    def __init__(self, instances: Instances, site_share_options: Mapping[str, str], timeout: float = 10.0) -> None:
        self._instances = instances
        self._site = dict(site_share_options)
        self._timeout = timeout

    def ensure(self, work: Work) -> None:
        server, contents = work.server, wanted(work)
        rows = {change.id: row for change in work.live(Kind.SHARE) if (row := self._share(work, change, contents))}
        self._claim(work)
        rows = {change.id: rows[change.id] for change in work.live(Kind.SHARE)}
        users = work.live(Kind.USER)
        if not (work.whole or rows or users or work.live(Kind.GROUP)):
            return
        layout = self._instances.layout(server)
        answer = ask(
            self._instances,
            server,
            "apply",
            {
                **account_files(server, layout, contents),
                "probe": probe_account(self._instances, server, force=work.whole),
                "known_users": known_users(contents) if work.whole else None,
                "known_shares": [share.name.last for share in contents.shares] if work.whole else None,
                "users": [_user(change) for change in users],
                "shares": list(rows.values()),
                "probes": {shares.PROBE_SHARE: shares.probe(server, layout, self._site)},
                "roots": list(self._instances.roots(server)),
            },
        )
        _collect(work.live(Kind.SHARE), answer["shares"])
        _collect(users, answer["users"])

    def remove(self, work: Work) -> None:
        """Takes the batch's shares and users away, and sees from outside that the shares are gone. (This step does, because
        on the way back it comes after the one that confirms.)"""
        server, contents = work.server, wanted(work, removing=True)
        rows = {change.id: row for change in work.live(Kind.SHARE) if (row := self._removal(work, change, contents))}
        users = [change.id for change in work.live(Kind.USER)]
        if not (rows or users or work.live(Kind.GROUP)):
            return
        answer = ask(
            self._instances,
            server,
            "remove",
            {
                **account_files(server, self._instances.layout(server), contents),
                "users": users,
                "shares": list(rows.values()),
                "roots": list(self._instances.roots(server)),
                "whole": work.whole,
            },
            timeout=DELETE_TIMEOUT if any(row["directory"]["data"] == "delete" for row in rows.values()) else TIMEOUT,
        )
        _collect(work.live(Kind.SHARE), answer["shares"])
        gone = work.live(Kind.SHARE)
        if not work.whole:
            self._confirm_gone(server, gone)
        for change in gone:
            work.claims.release(DIRECTORY, str(change.resource.assigned["path"]), change.resource.uid)

    def _share(self, work: Work, change: Change, contents: Contents) -> Mapping[str, Any] | None:
        """The share for the script."""
        share = change.resource
        try:
            section = shares.section(work.server, share, self._site)
            place = directory(work.server, share, contents)
        except PvesmbError as error:
            change.error = error
            return None
        return {"name": change.id, "params": section, "directory": place}

    def _claim(self, work: Work) -> None:
        """Claims the directories, before they are made. Which of them existed before us is not kept with the claim: those
        that we make carry the share's uid."""
        own = [c for c in work.live(Kind.SHARE) if isinstance(c.resource.spec.storage, DirectoryStorage)]
        wanted = [Claim(DIRECTORY, str(change.resource.assigned["path"]), change.resource.uid) for change in own]
        for change, claim in zip(own, work.claims.put_each(wanted), strict=True):
            if isinstance(claim, PvesmbError):
                change.error = claim

    def _removal(self, work: Work, change: Change, contents: Contents) -> Mapping[str, Any] | None:
        share, data = change.resource, "keep"
        if change.options.get("rollback"):
            data = "empty"
        elif change.options.get("delete_data"):
            data = "delete"
            if others := within(contents, str(share.assigned["path"])):
                named = ", ".join(others)
                change.error = PreconditionFailed(f"the data of {change.id} holds other shares: {named}")
                return None
        return {"name": change.id, "directory": removal(share, data)}

    def _confirm_gone(self, server: Server, gone: list[Change]) -> None:
        if not gone:
            return
        left = {change.id for change in gone}
        for _ in _pauses(self._timeout):
            endpoint = self._instances.endpoints(server)[0]
            try:
                answers = probe.ask(endpoint, self._instances.probe_password(server), sorted(left))
            except (SambaUnavailable, NotConfirmed) as error:
                if probe.refused(error):
                    return  # A server that does not run serves nothing.
                continue
            left = {name for name in left if answers[name] is not Answer.UNKNOWN}
            if not left:
                return
        for change in gone:
            if change.id in left:
                message = f"the server has not confirmed that {change.id} is gone"
                change.error = NotConfirmed(message, metadata={"share": change.id})


class ConfirmStep:
    """Asks the running server from outside, through the network, whether it serves what was applied. What this cannot see
    (a missing directory, a wrong owner) `ApplyStep` has read back on the host; accounts too: nobody logs in as a user."""

    name = "confirm"
    server_only = False

    def __init__(self, instances: Instances, timeout: float = 10.0) -> None:
        self._instances = instances
        self._timeout = timeout

    def ensure(self, work: Work) -> None:
        changes = work.live(Kind.SHARE)
        if not (work.whole or work.live()):
            return
        names = {change.id for change in changes}
        answers: dict[str, Answer] = {}
        trouble: PvesmbError | None = None
        for tried, _ in enumerate(_pauses(self._timeout)):
            if tried and work.cancelled():
                raise OperationCancelled("the operation was cancelled and undone")
            try:
                answers = self._ask(work, [shares.PROBE_SHARE, *sorted(names)])
                trouble = None
            except (SambaUnavailable, NotConfirmed) as error:
                trouble = error
                continue
            if not (names or work.whole):
                return  # Users and groups need a server that lets people in, and no more.
            if answers[shares.PROBE_SHARE] is Answer.CONNECTED and all(answers[name] is Answer.DENIED for name in names):
                return
        if trouble is not None:
            raise trouble
        if work.whole and not changes:
            raise _modules_fault("the file server")
        for change in changes:
            change.error = _unconfirmed(change.id, answers)

    def _ask(self, work: Work, names: Sequence[str]) -> dict[str, Answer]:
        """One smbd serves the same at all its addresses; that it can be reached at each is seen when the server is made."""
        password = self._instances.probe_password(work.server)
        first, *others = self._instances.endpoints(work.server)
        for endpoint in others if work.whole else ():
            probe.ask(endpoint, password, ())
        return probe.ask(first, password, names)

    def remove(self, work: Work) -> None:
        """Nothing: on the way back this step comes first, when all is served still. `ApplyStep.remove` looks."""


def _unconfirmed(share: str, answers: Mapping[str, Answer]) -> NotConfirmed | None:
    if answers[shares.PROBE_SHARE] is not Answer.CONNECTED:
        return _modules_fault(f"share {share}", {"share": share})
    if answers[share] is Answer.DENIED:
        return None
    told = {
        Answer.CONNECTED: "lets in an account without rights to",
        Answer.UNKNOWN: "does not know",
        Answer.OTHER: "answers with an unexpected status for",
    }[answers[share]]
    return NotConfirmed(f"the running server {told} share {share}", metadata={"share": share})


def _modules_fault(what: str, metadata: Mapping[str, str] | None = None) -> NotConfirmed:
    return NotConfirmed(
        f"{what} is not usable: the probe share, which has the VFS modules of every share, cannot be connected",
        help="See in the log of smbd which of the `vfs objects` in the backend's options does not load.",
        metadata=metadata,
    )


def _user(change: Change) -> Mapping[str, Any]:
    return {
        "name": change.id,
        "password": change.secret(),
        "disabled": change.resource.spec.disabled,
        "end_sessions": bool(change.options.get("end_sessions")),
    }


def _collect(changes: Sequence[Change], answers: Mapping[str, Mapping[str, Any]]) -> None:
    """Gives each change its answer."""
    for change in changes:
        answer = answers[change.id]
        if "error" in answer:
            change.error = error_of(answer["error"])
        change.notes.extend(answer.get("notes", ()))


def _pauses(timeout: float) -> Iterator[None]:
    """Tries at once, then after pauses that grow, until the time is over; at least twice."""
    end, pause, tries = time.monotonic() + timeout, 0.02, 0
    while tries < 2 or time.monotonic() < end:
        yield
        tries += 1
        time.sleep(pause)
        pause = min(pause * 2, 0.5)
