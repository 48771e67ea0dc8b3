"""Claims kept in the store."""

from __future__ import annotations

from collections.abc import Sequence

from services.core.errors import PreconditionFailed
from services.core.steps import Claim
from services.core.store import Store, Transaction


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
        with self._store.snapshot() as tx:
            standing = [tx.claim(claim.kind, claim.value) for claim in claims]
        if all(s is not None and s.owner == claim.owner for s, claim in zip(standing, claims, strict=True)):
            return [claim for claim in standing if claim is not None]
        with self._store.transaction() as tx:
            return [_put(tx, claim) for claim in claims]

    def release(self, kind: str, value: str, owner: str) -> None:
        with self._store.transaction() as tx:
            tx.release_claim(kind, value, owner)


def _put(tx: Transaction, claim: Claim) -> Claim | PreconditionFailed:
    try:
        return tx.put_claim(claim)
    except PreconditionFailed as error:
        return error
