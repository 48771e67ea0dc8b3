"""The rules of rights, without a node."""

from __future__ import annotations

import pytest

from services.localnode.api.permissions import BUILTIN_ROLES, AccessFacts, AclEntry, Caller, Rights, permissions
from services.localnode.api.refusal import Refusal

ROLES = {**BUILTIN_ROLES, "Guest": frozenset({"VM.Audit", "VM.PowerMgmt"}), "Look": frozenset({"VM.Audit"})}


def facts(*acl: AclEntry, privsep: dict[str, bool] | None = None, pool_of: dict[int, str] | None = None) -> AccessFacts:
    return AccessFacts(acl, ROLES, privsep or {}, pool_of or {}, ("p1",))


def test_the_deepest_entry_replaces_what_was_inherited() -> None:
    known = facts(AclEntry("/", "u@pve", "Guest"), AclEntry("/vms/100", "u@pve", "Look"))
    assert permissions(known, "u@pve", "/vms/100") == {"VM.Audit": 1}
    assert permissions(known, "u@pve", "/vms/101") == {"VM.Audit": 1, "VM.PowerMgmt": 1}


def test_no_access_takes_everything() -> None:
    known = facts(AclEntry("/", "u@pve", "Guest"), AclEntry("/vms", "u@pve", "NoAccess"))
    assert permissions(known, "u@pve", "/vms/100") == {}
    assert permissions(known, "u@pve", "/") != {}


def test_an_entry_that_does_not_propagate_counts_at_its_path_only() -> None:
    known = facts(AclEntry("/vms", "u@pve", "Look", propagate=False))
    assert permissions(known, "u@pve", "/vms") == {"VM.Audit": 0}
    assert permissions(known, "u@pve", "/vms/100") == {}


def test_a_pool_lends_its_rights_to_its_guests_alone() -> None:
    known = facts(AclEntry("/pool/p1", "u@pve", "Guest"), pool_of={100: "p1"})
    assert permissions(known, "u@pve", "/vms/100") == {"VM.Audit": 0, "VM.PowerMgmt": 0}
    assert permissions(known, "u@pve", "/vms/101") == {}


def test_a_separate_token_has_what_both_have() -> None:
    token = "u@pve!t"
    grants = (AclEntry("/", "u@pve", "Look"), AclEntry("/", token, "Guest"))
    assert permissions(facts(*grants, privsep={token: True}), token, "/vms") == {"VM.Audit": 1}
    assert permissions(facts(*grants[:1], privsep={token: True}), token, "/vms") == {}
    assert permissions(facts(*grants[1:], privsep={token: True}), token, "/vms") == {}
    assert permissions(facts(*grants, privsep={token: False}), token, "/vms") == {"VM.Audit": 1}
    assert permissions(facts(*grants), token, "/vms") == {}


def test_a_refusal_names_what_is_missing() -> None:
    rights = Rights(facts(AclEntry("/", "u@pve", "Look")), Caller("u@pve"))
    rights.need("/vms/100", "VM.Audit")
    with pytest.raises(Refusal, match=r"^Permission check failed \(/vms/100, VM.PowerMgmt\)$"):
        rights.need("/vms/100", "VM.Audit", "VM.PowerMgmt")
    with pytest.raises(Refusal, match=r"^Permission check failed \(/vms/100, VM.Clone\|VM.Backup\)$"):
        rights.need_any("/vms/100", "VM.Clone", "VM.Backup")
