"""No request, whatever is in it, makes the gateway or a backend fail, hang, die, or tell a secret."""

from __future__ import annotations

import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import grpc
import pvesmb
import pytest
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor

from tests.e2e.deployment import Deployment
from tests.e2e.faults.canary import holding
from tests.e2e.fuzz import calls, inputs, world
from tests.e2e.fuzz.inputs import LONG, Input
from tests.e2e.fuzz.values import Values
from tests.e2e.fuzz.verdict import Outcome, faults, made_by_grpc, status_faults
from tests.e2e.waiting import until
from tests.e2e.words import CANARY
from tests.figures import Figures

SHORT, FULL = 1_500, 20_000
#: So many inputs lie between two looks at what there is.
STRETCH = 150


@dataclass
class Run:
    """What came of all inputs."""

    deployment: Deployment
    channel: grpc.Channel
    values: Values
    methods: Mapping[str, MethodDescriptor]
    tried: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    grpc_made: Counter[str] = field(default_factory=Counter)
    found: dict[str, str] = field(default_factory=dict)

    def go(self, count: int) -> None:
        """So many inputs, every method in turn; those that take their time come in every fourth round."""
        order = sorted(self.methods)
        rounds = itertools.cycle([order] + 3 * [[path for path in order if path not in LONG]])
        for number, path in zip(range(count), itertools.chain.from_iterable(rounds), strict=False):
            if number % STRETCH == 0:
                self.plain()
            self.one(inputs.make(self.values, self.methods[path]))

    def one(self, given: Input) -> None:
        begun = time.monotonic()
        outcome = calls.call(self.channel, given)
        wrong = list(faults(given, outcome))
        if time.monotonic() - begun > given.seconds + calls.SLACK:
            wrong.append("the call did not end with its deadline")
        for fault in wrong:
            self._found(fault, given)
        self.tried[given.path] += 1
        self.codes[outcome.code.name] += 1
        if outcome.code is not grpc.StatusCode.OK and (why := made_by_grpc(given, outcome)):
            self.grpc_made[why] += 1
        self._remember(outcome, given)

    def plain(self) -> None:
        """An honest call is answered, and what was deleted is there again."""
        assert self.deployment.client.backends.get(self.deployment.backend).health == pvesmb.Backend.HEALTH_SERVING
        world.tend(self.deployment, self.values.world)

    def _found(self, fault: str, given: Input) -> None:
        """Keeps the shortest input of each kind of fault."""
        kind, shown = f"{given.path} {fault[:12]}", f"{fault}\n  {given}"
        if kind not in self.found or len(shown) < len(self.found[kind]):
            self.found[kind] = shown

    def _remember(self, outcome: Outcome, given: Input) -> None:
        """Page tokens, which nobody can invent."""
        output = given.method.output_type
        if outcome.code is grpc.StatusCode.OK and "next_page_token" in output.fields_by_name:
            for body in outcome.responses:
                token = inputs.parsed(output, body).next_page_token
                if token:
                    self.values.world.tokens = [token, *self.values.world.tokens[:20]]


def failures(deployment: Deployment) -> list[str]:
    """What is wrong with the operations, once all have ended."""

    def all_ended() -> list[operations_pb2.Operation] | None:
        listed = [handle.operation for handle in deployment.client.operations.list(deployment.backend, page_size=500)]
        return listed if all(operation.done for operation in listed) else None

    found = []
    for operation in until(all_ended, "the end of every operation", 100):
        if operation.HasField("error"):
            found += [f"{operation.name}: {fault}\n  {operation}" for fault in status_faults(operation.error)]
    return found


@pytest.mark.timeout(1800)
def test_every_message(deploy: Callable[..., Deployment], full: bool, seed: int, figures: Figures) -> None:
    deployment = deploy(log_level="debug")
    chance = random.Random(seed)
    values = Values(chance, world.make(deployment))
    services = (deployment.gateway, deployment.service)
    pids = [service.pid for service in services]
    with grpc.insecure_channel(f"unix:{deployment.gateway.socket}") as channel:
        run = Run(deployment, channel, values, calls.methods(channel))
        assert [path for path, method in run.methods.items() if not inputs.seeded(method)] == []
        run.go(FULL if full else SHORT)
    run.plain()
    failed = failures(deployment)
    print(f"seed {seed}; {dict(run.tried)}; {dict(run.codes)}; by gRPC: {dict(run.grpc_made)}")
    assert not run.found, "\n".join(run.found.values())
    assert not failed, "\n".join(failed[:10])
    assert [service.pid for service in services if service.running] == pids
    assert {path.name: path.read_text() for path in (deployment.state / "outside").iterdir()} == {
        "file": "nobody has business here"
    }
    assert not [name for name, text in deployment.metrics().items() if CANARY in text]
    assert holding(deployment.state) == []
    logs = "\n".join(service.log.read_text() for service in services)
    errors = [line for line in logs.splitlines() if '"level": "error"' in line]
    # gRPC itself notes there that it could not answer a caller whose deadline had passed, and a build of a template why it
    # failed: no mirror is reached from here.
    loggers = ('"logger": "grpc.', '"logger": "services.lxc.template.')
    assert not [line for line in errors if not any(logger in line for logger in loggers)]
    figures.put("fuzz", "inputs", run.tried.total())
    figures.put("fuzz", "methods", len(run.tried))
    figures.put("fuzz", "inputs of the method with the fewest", min(run.tried.values()))
    for code, times in run.codes.most_common():
        figures.put("fuzz", f"answered {code}", times)
    for why, times in run.grpc_made.items():
        figures.put("fuzz", f"errors of gRPC's own, without our details: {why}", times)
    figures.put("fuzz", "INTERNAL, UNKNOWN, hangs, crashes, traces of a secret", 0)
