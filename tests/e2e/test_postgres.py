"""A backend that keeps its store in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pvesmb

from tests import postgres
from tests.e2e import modes
from tests.e2e.deadly import Moment
from tests.e2e.deployment import Deployment
from tests.e2e.words import Server, user_rule, users


@modes.only("native")
def test_killed_and_started_again(deploy: Callable[..., Deployment]) -> None:
    """The lease of the killed process runs out, and the next one takes the create over. What store it is matters to no
    mode: the first will do."""
    with postgres.cluster() as url:
        deployment = deploy(deadly=True, store_url=url)
        first = deployment.new_server(users=users("ann"), shares={"docs": pvesmb.Share(access=[user_rule("ann")])})
        Moment("process", "ensure", "after").write(deployment.state)
        id, spec = deployment.new_id(), deployment.spec()
        share = pvesmb.Share(access=[user_rule("ann")])
        handle = deployment.client.file_servers.create(
            deployment.backend, id, spec, shares={"docs": share}, users=users("ann")
        )
        deployment.service.wait()
        deployment.start()
        server = Server(handle.result(timeout=100))
        assert server.smb("ann", "docs", "mkdir a").ok and first.smb("ann", "docs", "mkdir a").ok
        assert not (deployment.service_dir / "store.db").exists()
        for one in (first, server):
            deployment.client.file_servers.delete(one.name, force=True, delete_data=True).result(timeout=60)
        assert deployment.traces(id, spec) == []
        deployment.close()
