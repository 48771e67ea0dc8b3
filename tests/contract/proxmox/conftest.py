"""What the suite runs against. Another live node is one more name in `LIVE` and a fixture of that name that gives a
`Place`."""

from __future__ import annotations

import pytest

from services.proxmox.session import Session
from tests.contract.fake_node import TEMPLATE
from tests.contract.proxmox.place import Place

LIVE = ["fake_node"]


@pytest.fixture
def fake_node(session: Session) -> Place:
    return Place(session, "pve1", "local-lvm", "local", TEMPLATE, "vmbr0", "smbgw")


@pytest.fixture(params=LIVE)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.getfixturevalue(request.param)
    return found
