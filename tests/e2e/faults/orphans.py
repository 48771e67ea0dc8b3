"""What is there and belongs to nobody."""

from __future__ import annotations

from collections.abc import Mapping

from tests.e2e.deployment import Deployment


def orphans(deployment: Deployment, wanted: Mapping[str, set[str]]) -> list[str]:
    """Everything in a deployment that does not belong to these file servers (by uid), to their shares or to ann."""
    resources = {uid: (name, kind) for uid, name, kind in deployment.rows("SELECT uid, name, kind FROM resources")}
    found = [f"resource {name}" for uid, (name, kind) in resources.items() if kind == "fileServers" and uid not in wanted]
    found += [f"claim {row}" for row in deployment.rows("SELECT kind, value, owner FROM claims") if row[2] not in resources]
    found += [f"secret {row}" for row in deployment.rows("SELECT key FROM secrets")]
    found += deployment.strays(wanted)
    for uid, names in wanted.items():
        found += [f"registry {name} in {uid}" for name in deployment.registry_of(uid) - names]
        found += [f"account {name} in {uid}" for name in deployment.accounts_of(uid) - {"ann"}]
    return found
