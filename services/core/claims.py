"""Claims kept in the store."""

from __future__ import annotations

from collections.abc import Sequence

from services.core.errors import PreconditionFailed
from services.core.steps import Claim
from services.core.store import Store, Transaction

_MISSING = PreconditionFailed("not claimed yet")


class StoredClaims:
    """`Claims`, put in a transaction of their own, so that they are durable before the things are made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, kind: str, value: str) -> Claim | None:
        with self._store.snapshot() as tx:
            return tx.claim(kind, value)

    def of(self, owner: str) -> Sequence[Claim]:
        with self._store.snapshot() as tx:
            return tx.claims_of(owner)

    def put(self, claim: Claim) -> Claim:
        [standing] = self.put_each([claim])
        if isinstance(standing, PreconditionFailed):
            raise standing
        return standing

    def put_each(self, claims: Sequence[Claim]) -> Sequence[Claim | PreconditionFailed]:
        """New ones are put in one order by everybody: replicas that want the same things must not wait for each other."""
        answers: list[Claim | PreconditionFailed] = []
        with self._store.snapshot() as tx:
            for claim in claims:
                standing = tx.claim(claim.kind, claim.value)
                answers.append(standing if standing is not None and standing.owner == claim.owner else _MISSING)
        missing = [at for at, answer in enumerate(answers) if answer is _MISSING]
        if missing:
            with self._store.transaction() as tx:
                for at in sorted(missing, key=lambda at: (claims[at].kind, claims[at].value)):
                    answers[at] = _put(tx, claims[at])
        return answers

    def release(self, kind: str, value: str, owner: str) -> None:
        with self._store.transaction() as tx:
            tx.release_claim(kind, value, owner)


def _put(tx: Transaction, claim: Claim) -> Claim | PreconditionFailed:
    try:
        return tx.put_claim(claim)
    except PreconditionFailed as error:
        return error
