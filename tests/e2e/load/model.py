"""One client's own resources, and what every answer about them has to be."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pvesmb
from pvesmb import Aborted, AccessRule, AlreadyExists, Cancelled, FailedPrecondition, InvalidArgument, NotFound

from tests.e2e.load.notes import Known, Tally, only, plain
from tests.e2e.words import password

#: An operation that has not ended after so long never will.
SECONDS = 200.0
_PLURAL = {"share": "shares", "user": "users", "group": "groups"}
_MOST = {"share": 5, "user": 3, "group": 2}
_LEVELS = (AccessRule.ACCESS_LEVEL_READ, AccessRule.ACCESS_LEVEL_READ_WRITE, AccessRule.ACCESS_LEVEL_ADMIN)


@dataclass
class Own:
    """A client with resources that nobody else touches, in a file server that it shares with others."""

    client: pvesmb.Client
    server: str
    me: str
    chance: random.Random
    tally: Tally
    known: dict[str, Known] = field(default_factory=dict)

    def act(self) -> None:
        """One thing at random."""
        acts: Sequence[tuple[Callable[[], None], int]] = (
            (self.create, 7), (self.get, 6), (self.list, 4), (self.update, 7), (self.delete, 4), (self.plan, 2),
            (self.missing, 2), (self.invalid, 2), (self.repeat, 1), (self.several, 1), (self.overlap, 1),
            (self.cancel, 1), (self.new_password, 1),
        )  # fmt: skip
        [chosen] = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])
        chosen()

    # What there is to choose from

    def _all(self, kind: str) -> list[str]:
        return [f"{self.server}/{_PLURAL[kind]}/{self.me}-{kind}{number}" for number in range(_MOST[kind])]

    def _kind(self) -> str:
        return self.chance.choices(("share", "user", "group"), (6, 3, 2))[0]

    def _there(self, kind: str) -> list[str]:
        return [name for name in self._all(kind) if name in self.known]

    def _some(self) -> Known | None:
        """A resource that exists."""
        return self.known[self.chance.choice(sorted(self.known))] if self.known else None

    def _free(self) -> tuple[str, str] | None:
        """A kind, and a name of it that is free."""
        kind = self._kind()
        free = [name for name in self._all(kind) if name not in self.known]
        return (kind, self.chance.choice(free)) if free else None

    def _of(self, kind: str) -> Any:
        return getattr(self.client, _PLURAL[kind])

    def _text(self) -> str:
        return f"{self.me} {self.chance.getrandbits(40):x} " + self.chance.choice(("", "Größe", "日本", "a'b\"c\\d;#"))

    def _ids(self, kind: str) -> list[str]:
        return [name.rpartition("/")[2] for name in self._there(kind)]

    def _fields(self, kind: str) -> dict[str, Any]:
        """New values for some of the fields of a resource."""
        chance, users, groups = self.chance, self._ids("user"), self._ids("group")
        labels = {"owner": self.me, "n": str(chance.randrange(3))}
        if kind == "user":
            choices: dict[str, Any] = {"full_name": self._text().replace(";#", ""), "disabled": chance.random() < 0.3}
        elif kind == "group":
            choices = {"description": self._text(), "members": chance.sample(users, chance.randint(0, len(users)))}
        else:
            rules = [AccessRule(user=id, level=chance.choice(_LEVELS)) for id in users if chance.random() < 0.5]
            rules += [AccessRule(group=id, level=chance.choice(_LEVELS)) for id in groups if chance.random() < 0.5]
            choices = {
                "comment": self._text(),
                "access": rules,
                "read_only": chance.random() < 0.5,
                "browseable": chance.random() < 0.5,
                "max_connections": chance.randrange(100),
                "hosts_deny": chance.sample(["192.0.2.0/24", "198.51.100.7", "2001:db8::/32"], chance.randint(0, 3)),
                "smb_options": chance.choice(({}, {"hide dot files": "no"}, {"veto files": "/*.tmp/", "oplocks": "no"})),
            }
        picked = {name: value for name, value in choices.items() if chance.random() < 0.6}
        return {"labels": labels, **picked}

    def _message(self, kind: str, fields: dict[str, Any]) -> Any:
        return {"share": pvesmb.Share, "user": pvesmb.User, "group": pvesmb.Group}[kind](**fields)

    # What comes back

    def _seen(self, what: str, message: Any, known: Known) -> None:
        """An answer about a resource on which nothing is under way."""
        self.tally.same(what, plain(message), known.message)
        self.tally.same(f"{what}, etag and generation", (message.etag, message.generation), (known.etag, known.generation))
        state = (message.state, message.observed_generation)
        self.tally.same(f"{what}, state", state, (pvesmb.ResourceState.RESOURCE_STATE_READY, known.generation))

    def _made(self, kind: str, name: str, fields: dict[str, Any], message: Any, secret: int) -> None:
        """A create that went well: what was asked for is there, what was not has its default."""
        what = f"create {name}"
        self.tally.same(what, message.name, name)
        wanted = self._message(kind, fields)
        for descriptor, value in wanted.ListFields():
            self.tally.same(f"{what} {descriptor.name}", getattr(message, descriptor.name), value)
        self.known[name] = known = Known(kind, plain(message), 1, message.etag, password=secret)
        self._seen(what, message, known)

    def _changed(self, known: Known, fields: dict[str, Any], message: Any) -> None:
        """An update that went well. The desired state has a new generation if it is another."""
        wanted, part = plain(known.message), self._message(known.kind, fields)
        for name in fields:
            wanted.ClearField(name)
            wanted.MergeFrom(only(part, name))
        if wanted != known.message:
            self.tally.same("an etag that changes", message.etag == known.etag, False)
            known.message, known.generation = wanted, known.generation + 1
            known.former_etag, known.etag = known.etag, message.etag
        self._seen(f"update {known.message.name}", message, known)

    def _start(self, kind: str, name: str, **more: Any) -> tuple[dict[str, Any], int, Any]:
        """Begins a create: what it asks for, the number of the password, and the handle."""
        fields, secret = self._fields(kind), self.chance.randrange(1000)
        message = self._message(kind, fields)
        if kind == "user":
            message.password = password(self.me, secret)
        parent, _, id = name.rpartition(f"/{_PLURAL[kind]}/")
        return fields, secret, self._of(kind).create(parent, id, message, **more)

    # Acts

    def create(self) -> None:
        if (free := self._free()) is None or self.chance.random() < 0.2:
            if (known := self._some()) is not None:
                name = known.message.name
                with self.tally.expecting(f"create a {known.kind} that exists", AlreadyExists, must=True):
                    shouted = known.kind == "share" and self.chance.random() < 0.3
                    self._start(known.kind, name[: -len(self.me)] + name[-len(self.me) :].upper() if shouted else name)
            return
        kind, name = free
        with self.tally.expecting(f"create {kind}"):
            fields, secret, handle = self._start(kind, name)
            self._made(kind, name, fields, handle.result(SECONDS), secret)

    def get(self) -> None:
        if (known := self._some()) is not None:
            with self.tally.expecting(f"get {known.kind}"):
                self._seen(f"get {known.message.name}", self._of(known.kind).get(known.message.name), known)

    def list(self) -> None:
        """All of mine that exist and none of mine that do not, once and in order, while others write."""
        kind, by_label = self._kind(), self.chance.random() < 0.4
        parent = self.server.replace(self.server.split("/")[1], "-", 1) if self.chance.random() < 0.2 else self.server
        filter = f'labels.owner = "{self.me}" AND state = READY' if by_label else ""
        with self.tally.expecting(f"list {_PLURAL[kind]}"):
            listing = self._of(kind).list(parent, filter=filter, page_size=self.chance.randint(1, 20))
            rows = [row for page in listing.pages() for row in page]
            keys = [row.name.rpartition("/")[2].casefold() for row in rows]
            self.tally.same("order and uniqueness of a list", keys, sorted(set(keys)))
            self.tally.same("backends left out of a list", listing.unreachable, [])
            mine = {row.name: row for row in rows if row.name.rpartition("/")[2].startswith(f"{self.me}-")}
            self.tally.same(f"mine in a list of {_PLURAL[kind]}", sorted(mine), sorted(self._there(kind)))
            if by_label:
                self.tally.same("what is not mine in a list of mine", len(rows), len(mine))
            for name in mine.keys() & self.known.keys():
                self._seen(f"list with {name}", mine[name], self.known[name])

    def update(self) -> None:
        if (known := self._some()) is None:
            return
        fields = self._fields(known.kind)
        message = self._message(known.kind, {"name": known.message.name, **fields})
        stale = bool(known.former_etag) and self.chance.random() < 0.3
        message.etag = known.former_etag if stale else self.chance.choice(("", known.etag))
        allowed = (Aborted,) if stale else ()
        with self.tally.expecting(f"update {known.kind}{' with a stale etag' if stale else ''}", *allowed, must=stale):
            self._changed(known, fields, self._of(known.kind).update(message, fields).result(SECONDS))

    def delete(self) -> None:
        if (known := self._some()) is None:
            return
        name = known.message.name
        if known.former_etag and self.chance.random() < 0.3:
            with self.tally.expecting(f"delete {known.kind} with a stale etag", Aborted, must=True):
                self._of(known.kind).delete(name, etag=known.former_etag)
            return
        named = known.kind != "share" and self._is_named(known.kind, name.rpartition("/")[2])
        allowed, what = ((FailedPrecondition,), " that a share names") if named else ((), "")
        with self.tally.expecting(f"delete {known.kind}{what}", *allowed, must=named):
            more = {"delete_data": True} if known.kind == "share" else {}
            self._of(known.kind).delete(name, etag=self.chance.choice(("", known.etag)), **more).result(SECONDS)
            self._gone(known)

    def _is_named(self, kind: str, id: str) -> bool:
        return any(getattr(rule, kind) == id for name in self._there("share") for rule in self.known[name].message.access)

    def _gone(self, known: Known) -> None:
        """What was removed is not there; a user has left its groups, whose etags are others now."""
        name = known.message.name
        del self.known[name]
        with self.tally.expecting(f"get a {known.kind} that was deleted", NotFound, must=True):
            self._of(known.kind).get(name)
        for group in (self.known[group] for group in self._there("group") if known.kind == "user"):
            if (id := name.rpartition("/")[2]) in group.message.members:
                group.message.members.remove(id)
                group.generation, group.former_etag = group.generation + 1, group.etag
                group.etag = self.client.groups.get(group.message.name).etag
                self.tally.same("an etag that changes", group.etag == group.former_etag, False)

    def missing(self) -> None:
        if (free := self._free()) is not None:
            kind, name = free
            collection = self._of(kind)
            call = self.chance.choice(
                (collection.get, collection.delete, lambda n: collection.update(self._message(kind, {"name": n})))
            )
            with self.tally.expecting(f"a call on a {kind} that does not exist", NotFound, must=True):
                call(name)

    def invalid(self) -> None:
        """Refused, whatever is there."""
        rules = [AccessRule(user=f"{self.me}-nobody", level=AccessRule.ACCESS_LEVEL_READ)]
        bad = self.chance.choice(
            (pvesmb.Share(access=rules), pvesmb.Share(comment="a\nb"), pvesmb.Share(smb_options={"wide links": "yes"}))
        )
        with self.tally.expecting("create a share that cannot be", InvalidArgument, must=True):
            self.client.shares.create(self.server, f"{self.me}-bad", bad)

    def plan(self) -> None:
        """A plan says what would be, and changes nothing, which every later act would see."""
        if (free := self._free()) is not None:
            kind, name = free
            with self.tally.expecting(f"plan {kind}"):
                _, _, told = self._start(kind, name, validate_only=True)
                self.tally.same("steps of a plan", bool(told.steps), True)
        if (known := self._some()) is not None and known.kind != "user":
            with self.tally.expecting("plan a removal", FailedPrecondition):
                self._of(known.kind).delete(known.message.name, validate_only=True)

    def repeat(self) -> None:
        """The same request again is the same operation; another one with its request_id is refused."""
        if not (free := [name for name in self._all("share") if name not in self.known]):
            return
        request_id, id = f"{self.chance.getrandbits(128):032x}", free[0].rpartition("/")[2]
        create = self.client.shares.create
        with self.tally.expecting("create share"):
            first = create(self.server, id, pvesmb.Share(labels={"owner": self.me}), request_id=request_id)
            again = create(self.server, id, pvesmb.Share(labels={"owner": self.me}), request_id=request_id)
            self.tally.same("the operation of a repeated request", again.name, first.name)
            with self.tally.expecting("another request with a request_id", InvalidArgument, must=True):
                create(self.server, id, pvesmb.Share(comment="other"), request_id=request_id)
            self._made("share", free[0], {"labels": {"owner": self.me}}, first.result(SECONDS), 0)

    def several(self) -> None:
        """Creates that do not wait for each other."""
        free = [name for name in self._all("share") if name not in self.known]
        with self.tally.expecting("create several shares at once"):
            begun = [(name, *self._start("share", name)) for name in free]
            for name, fields, secret, handle in begun:
                self._made("share", name, fields, handle.result(SECONDS), secret)

    def overlap(self) -> None:
        """Two updates at once: the second is refused as long as the first works."""
        if not (there := self._there("share")):
            return
        known, second = self.known[self.chance.choice(there)], None
        changes: list[dict[str, Any]] = [{"comment": self._text()}, {"comment": self._text()}]
        messages = [pvesmb.Share(name=known.message.name, **change) for change in changes]
        with self.tally.expecting("update share"):
            first = self.client.shares.update(messages[0], changes[0])
            with self.tally.expecting("update share while it is updated", Aborted):
                second = self.client.shares.update(messages[1], changes[1])
            self._changed(known, changes[0], first.result(SECONDS))
        if second is not None:
            with self.tally.expecting("update share"):
                self._changed(known, changes[1], second.result(SECONDS))

    def cancel(self) -> None:
        """A create that is cancelled at once: it was undone, or it had ended."""
        if not (free := [name for name in self._all("share") if name not in self.known]):
            return
        with self.tally.expecting("create share and cancel"):
            fields, secret, handle = self._start("share", free[0])
            handle.cancel()
            error = handle.exception(SECONDS)
            if error is None:
                self._made("share", free[0], fields, handle.result(), secret)
                return
            self.tally.same("the error of what was cancelled", type(error), Cancelled)
        with self.tally.expecting("get a share that was cancelled", NotFound, must=True):
            self.client.shares.get(free[0])

    def new_password(self) -> None:
        if there := self._there("user"):
            known, number = self.known[self.chance.choice(there)], self.chance.randrange(1000)
            with self.tally.expecting("reset a password"):
                message = self.client.users.reset_password(known.message.name, password(self.me, number)).result(SECONDS)
                known.password = number
                self._seen("reset password", message, known)
