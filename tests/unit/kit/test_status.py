"""Errors on the wire: every one of the tree, there and back."""

from __future__ import annotations

import base64

import pytest
from google.rpc import error_details_pb2, status_pb2
from pvesmb.v1 import errors_pb2

from services.core.errors import REASONS, Code, InvalidField, PreconditionFailed, PvesmbError, Violation
from services.kit.status import from_status, to_status, unexpected


@pytest.mark.parametrize("kind", REASONS.values(), ids=list(REASONS))
def test_every_error_survives_the_wire(kind: type[PvesmbError]) -> None:
    violations = [Violation("a.b", "bad")] if kind.code in (Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION) else []
    error = kind("what happened", help="do this", metadata={"k": "v"}, violations=violations)
    status = status_pb2.Status.FromString(to_status(error).SerializeToString())
    back = from_status(status)
    assert type(back) is kind
    assert status.code == kind.code
    assert back.to_json() == error.to_json()


def test_reasons_are_those_of_the_contract() -> None:
    prefix = "ERROR_REASON_"
    declared = {name.removeprefix(prefix) for name in errors_pb2.ErrorReason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert declared == set(REASONS)


def test_details_have_the_standard_types() -> None:
    details = to_status(InvalidField.of("share.path", "is bad")).details
    assert [d.TypeName() for d in details] == ["google.rpc.ErrorInfo", "google.rpc.Help", "google.rpc.BadRequest"]
    unmet = to_status(PreconditionFailed("no", violations=[Violation("backends/a", "is down")])).details[2]
    failure = error_details_pb2.PreconditionFailure()
    assert unmet.Unpack(failure)
    assert (failure.violations[0].type, failure.violations[0].subject) == ("PRECONDITION_FAILED", "backends/a")


def test_details_fit_into_a_trailer() -> None:
    many = [Violation(f"field{i}", "x" * 5000) for i in range(1000)]
    status = to_status(InvalidField("y" * 100_000, violations=many))
    assert status.ByteSize() < 6500
    back = from_status(status)
    assert back is not None
    assert back.violations[0].subject == "field0"


@pytest.mark.parametrize("letter", ["x", "%", "é", "\n", "💣"])
@pytest.mark.parametrize("kind", [InvalidField, PreconditionFailed])
def test_an_error_about_a_long_text_fits_into_what_a_receiver_takes(kind: type[PvesmbError], letter: str) -> None:
    """8 KiB, of which gRPC's own trailers and ours need some."""
    text = letter * 20_000
    status = to_status(kind(text, help=text, metadata={"a": text, "b": text}, violations=[Violation(text, text)] * 9))
    message = sum(1 if 0x20 <= byte <= 0x7E and byte != 0x25 else 3 for byte in status.message.encode())
    details = len(base64.b64encode(status.SerializeToString()))
    assert message + details < 8192 - 512
    assert status.message.startswith(letter) and status.message.endswith("…")


def test_foreign_status_is_no_error_of_ours() -> None:
    assert from_status(status_pb2.Status(code=5, message="x")) is None
    status = status_pb2.Status(code=5)
    status.details.add().Pack(error_details_pb2.ErrorInfo(domain="example.org", reason="INTERNAL"))
    assert from_status(status) is None


def test_unexpected_hides_the_text() -> None:
    error = unexpected(ValueError("hunter2"))
    assert "hunter2" not in repr(error.to_json())
    assert error.metadata["incident"] in error.message
