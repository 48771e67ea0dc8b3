"""Claims kept in the store."""

from __future__ import annotations

from collections.abc import Sequence

from services.core.steps import Claim
from services.core.store import Store


class StoredClaims:
    """`Claims`, each put in a transaction of its own, so that it is durable before the thing is made."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, kind: str, value: str) -> Claim | None:
        with self._store.snapshot() as tx:
            return tx.claim(kind, value)

    def of(self, owner: str) -> Sequence[Claim]:
        with self._store.snapshot() as tx:
            return tx.claims_of(owner)

    def put(self, claim: Claim) -> Claim:
        standing = self.get(claim.kind, claim.value)
        if standing is not None and standing.owner == claim.owner:
            return standing
        with self._store.transaction() as tx:
            return tx.put_claim(claim)

    def release(self, kind: str, value: str, owner: str) -> None:
        with self._store.transaction() as tx:
            tx.release_claim(kind, value, owner)
