"""What goes wrong between the steps and the node, and what must be left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.core.errors import PvesmbError
from services.core.steps import Claim
from services.proxmox.failures import CUT_OFF, NO_ANSWER, Refusal, error_of
from services.proxmox.session import TIMEOUT, Api, Value
from tests.contract.fake_node import TEMPLATE
from tests.contract.lxc.world import Bench, mutations


def timed_out() -> PvesmbError:
    return error_of(Refusal(NO_ANSWER, "no answer in time", "it"))


def cut_off() -> PvesmbError:
    return error_of(Refusal(CUT_OFF, "the connection was cut", "it"))


@dataclass
class Trouble:
    """Happens at the first call of this kind. `happens`: the node gets it nevertheless; `then` runs before the error."""

    method: str
    end: str
    error: Callable[[], BaseException]
    happens: bool = True
    then: Callable[[], None] = lambda: None


@dataclass
class TroubledApi:
    """An `Api` whose answers get lost; every call has at most `longest` seconds. `answers` stand for what fakepve answers
    without a meaning, if it answers at all."""

    api: Api
    troubles: list[Trouble] = field(default_factory=list)
    longest: float = TIMEOUT
    calls: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Any] = field(default_factory=dict)

    def call(
        self,
        method: str,
        path: Sequence[str | int],
        params: Mapping[str, Value] | None = None,
        *,
        subject: str = "",
        needs: str = "",
        timeout: float = TIMEOUT,
    ) -> Any:
        where = "/" + "/".join(map(str, path))
        self.calls.append((method, where))
        trouble = next((each for each in self.troubles if each.method == method and where.endswith(each.end)), None)
        if trouble is not None:
            self.troubles.remove(trouble)
        if trouble is None or trouble.happens:
            timeout = min(timeout, self.longest)
            answer = self.api.call(method, path, params, subject=subject, needs=needs, timeout=timeout)
        if trouble is None:
            return self.answers.get(where, answer)
        trouble.then()
        raise trouble.error()


def claimed(bench: Bench, vmid: int) -> None:
    bench.claims.put(Claim("guest", str(vmid), bench.server.uid, {"node": "pve1", "template": TEMPLATE}))


def troubled(bench: Bench, *troubles: Trouble, longest: float = 30.0) -> TroubledApi:
    api = TroubledApi(bench.api, list(troubles), longest)
    bench.api = api
    return api


def assert_only_ours(bench: Bench, *others: int) -> None:
    """One container, ours, and the claims that go with it; nothing was asked of others' guests."""
    assert {ct.vmid for ct in bench.fake.cts} == {bench.vmid, *others}
    assert bench.kinds() == ["container", "guest"]
    for vmid in others:
        assert mutations(bench.fake, vmid) == []


def assert_removes_to_nothing(bench: Bench, *others: int) -> None:
    bench.remove()
    assert [ct.vmid for ct in bench.fake.cts] == [*others] and bench.claims.rows == {}
    for vmid in others:
        assert mutations(bench.fake, vmid) == []


def addressed(bench: Bench, *given: str, name: str = "eth0") -> None:
    """What the container answers to the question for its addresses."""
    interface = {
        "name": name,
        "hwaddr": "bc:24:11:00:00:01",
        "ip-addresses": [
            {"ip-address-type": "inet", "ip-address": each.split("/")[0], "prefix": each.split("/")[1]} for each in given
        ],
    }
    bench.api = TroubledApi(bench.api, answers={f"/nodes/pve1/lxc/{bench.vmid}/interfaces": [interface]})
