"""What a change would do, for `validate_only`; nothing is changed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from services.core.domain.names import Kind
from services.core.domain.operation import Verb
from services.core.domain.resource import State
from services.core.domain.share import VolumeStorage
from services.core.steps import Change, Plan, Work
from services.samba import config, shares
from services.samba.accounts import wanted
from services.samba.instance import Instances
from services.samba.observe import look
from services.samba.steps import ApplyStep, ConfigStep, ConfirmStep


def plan(
    instances: Instances,
    work: Work,
    site_share_options: Mapping[str, str],
    site_options: Mapping[str, str] | None = None,
) -> Plan:
    """Steps of this part, the difference of smb.conf (the shares' sections as the registry has them), and other effects."""
    removed = [change for change in work.changes if change.verb is Verb.DELETE]
    kept = wanted(work.only([change for change in work.changes if change.verb is not Verb.DELETE]))
    after = replace(work, contents=wanted(replace(work.only(removed), contents=kept), removing=True))
    found = look(instances, after)
    before_text = (found["conf"] or "") + _sections(found["sections"])
    after_text = _after(instances, after, found, site_share_options, site_options or {})
    diff = difflib.unified_diff(
        before_text.splitlines(keepends=True), after_text.splitlines(keepends=True), "smb.conf (now)", "smb.conf (wanted)"
    )
    steps = (ConfigStep, ApplyStep, ConfirmStep)
    names = tuple(step.name for step in steps if work.whole or not step.server_only)
    return Plan(names, "".join(diff), tuple(_effects(work, found)))


def _after(
    instances: Instances,
    work: Work,
    found: Mapping[str, Any],
    site_share_options: Mapping[str, str],
    site_options: Mapping[str, str],
) -> str:
    """What will be there. Shares that the work is not about stay as they are, unless it is about the whole server."""
    server, layout = work.server, instances.layout(work.server)
    if work.whole and server.state is State.DELETING:
        return ""
    touched = {change.resource.name.key for change in work.changes if change.kind is Kind.SHARE}
    sections = {} if work.whole else {n: p for n, p in found["sections"].items() if n.casefold() not in touched}
    for share in work.contents.shares:
        if work.whole or share.name.key in touched:
            sections[share.name.last] = shares.section(server, share, site_share_options)
    sections[shares.PROBE_SHARE] = shares.probe(server, layout, site_share_options)
    text = found["conf"] or ""
    if work.whole:
        text = config.render(server, layout, instances.endpoints(server), site_options)
    return text + _sections(sections)


def _sections(sections: Mapping[str, Mapping[str, str]]) -> str:
    return "".join("\n" + shares.text(name, sections[name]) for name in sorted(sections))


def _effects(work: Work, found: Mapping[str, Any]) -> Iterator[str]:
    for change in work.changes:
        if change.kind is Kind.SHARE:
            yield from _share_effects(change, found)
        elif change.kind is Kind.USER:
            yield from _user_effects(change, found)
        else:
            yield f"group {change.id}: {'removed' if change.verb is Verb.DELETE else 'written'}"


def _share_effects(change: Change, found: Mapping[str, Any]) -> Iterator[str]:
    path = change.resource.assigned.get("path", "")
    place = f"volume on {path}" if isinstance(change.resource.spec.storage, VolumeStorage) else f"directory {path}"
    if change.verb is Verb.DELETE:
        yield f"share {change.id}: removed, its connections are ended"
        yield f"{place}: {'removed with all data, if we made it' if change.options.get('delete_data') else 'kept'}"
        return
    present = {name.casefold() for name in found["sections"]}
    yield f"share {change.id}: {'changed' if change.resource.name.key in present else 'made'}"
    missing = found["directories"].get(change.id, "").endswith("is missing")
    yield f"{place}: {'made' if missing else 'exists and is used'}"


def _user_effects(change: Change, found: Mapping[str, Any]) -> Iterator[str]:
    if change.verb is Verb.DELETE:
        yield f"user {change.id}: removed, its sessions are ended"
    elif change.verb is Verb.RESET_PASSWORD:
        yield f"user {change.id}: new password{', its sessions are ended' if change.options.get('end_sessions') else ''}"
    else:
        yield f"user {change.id}: {'changed' if change.id in found['accounts'] else 'made'}"
