"""Shares that all clients of a file server fight for, and what must be true of their history."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pvesmb
from pvesmb import Aborted, AlreadyExists, FailedPrecondition, NotFound

from tests.e2e.load.model import SECONDS
from tests.e2e.load.notes import Tally

NAMES = ("common-0", "common-1")


@dataclass(frozen=True)
class Event:
    """What a client has seen of a common share, or done to it: `created`, `updated`, `deleted`, or `read`. Every write has
    a comment of its own."""

    what: str
    name: str
    uid: str
    generation: int
    comment: str


@dataclass
class Common:
    """One client's part in it."""

    client: pvesmb.Client
    server: str
    me: str
    chance: random.Random
    tally: Tally
    events: list[Event] = field(default_factory=list)

    def act(self) -> None:
        """One thing at random."""
        name = f"{self.server}/shares/{self.chance.choice(NAMES)}"
        self.chance.choice((self._create, self._read, self._update, self._update, self._delete))(name)

    def _note(self, what: str, share: pvesmb.Share) -> None:
        self.events.append(Event(what, share.name, share.uid, share.generation, share.comment))

    def _comment(self) -> str:
        return f"{self.me} {self.chance.getrandbits(60):x}"

    def _create(self, name: str) -> None:
        with self.tally.expecting("create a common share", AlreadyExists):
            share = pvesmb.Share(comment=self._comment())
            self._note("created", self.client.shares.create(self.server, name.rpartition("/")[2], share).result(SECONDS))

    def _read(self, name: str) -> pvesmb.Share | None:
        with self.tally.expecting("get a common share", NotFound):
            share = self.client.shares.get(name)
            self._note("read", share)
            return share
        return None

    def _update(self, name: str) -> None:
        """With the etag of what was read: wins, or somebody else did."""
        if (read := self._read(name)) is not None:
            with self.tally.expecting("update a common share", Aborted, NotFound, FailedPrecondition):
                share = pvesmb.Share(name=name, comment=self._comment(), etag=read.etag)
                made = self.client.shares.update(share, ["comment"]).result(SECONDS)
                self.tally.same(
                    "comment, uid and generation of an update that won",
                    (made.comment, made.uid, made.generation),
                    (share.comment, read.uid, read.generation + 1),
                )
                self._note("updated", made)

    def _delete(self, name: str) -> None:
        if (read := self._read(name)) is not None and self.chance.random() < 0.5:
            with self.tally.expecting("delete a common share", Aborted, NotFound, FailedPrecondition):
                self.client.shares.delete(name, etag=read.etag, delete_data=True).result(SECONDS)
                self._note("deleted", read)


def faults(events: Sequence[Event], final: Mapping[str, pvesmb.Share]) -> Iterator[str]:
    """What cannot have happened if each write had exactly one winner. `final` is what is there at the end."""
    writes = [event for event in events if event.what in ("created", "updated")]
    won: dict[tuple[str, int], set[str]] = defaultdict(set)
    for event in writes:
        won[event.uid, event.generation].add(event.comment)
    for (uid, generation), comments in won.items():
        if len(comments) > 1:
            yield f"{len(comments)} writes won generation {generation} of {uid}"
    created = {event.uid: event.name for event in writes if event.what == "created"}
    deleted = Counter(event.uid for event in events if event.what == "deleted")
    yield from (f"{uid} was deleted {times} times" for uid, times in deleted.items() if times > 1)
    for event in events:
        if event.comment not in won[event.uid, event.generation]:
            yield f"{event} was seen, but nobody wrote it"
        if event.uid not in created:
            yield f"{event} is of a share that nobody made"
    for name in {event.name for event in events} | final.keys():
        left = [uid for uid, of in created.items() if of == name and uid not in deleted]
        share = final.get(name)
        if left != ([share.uid] if share is not None else []):
            yield f"of {name} there should be {left} at the end, there is {share}"
        elif share is not None:
            last = max(generation for uid, generation in won if uid == share.uid and won[uid, generation])
            if share.generation != last or share.comment not in won[share.uid, last]:
                yield f"{name} is {share} at the end, not what was written last (generation {last})"
