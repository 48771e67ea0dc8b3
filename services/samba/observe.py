"""Compares everything that a file server desires of its Samba with what is there; changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from services.core.steps import Drift, Work
from services.samba import config, shares
from services.samba.apply import account_files, ask, directory, known_users
from services.samba.instance import PROBE_USER, Instances

#: Flag of an account that may not log in (ACB_DISABLED).
_DISABLED = 0x01


def look(instances: Instances, work: Work) -> dict[str, Any]:
    """What is there, by one run of the script."""
    contents = work.contents
    return ask(
        instances,
        work.server,
        "observe",
        {
            **account_files(work.server, instances.layout(work.server), contents),
            "checks": [directory(work.server, share, contents) for share in contents.shares],
            "roots": list(instances.roots(work.server)),
        },
    )


def observe(
    instances: Instances,
    work: Work,
    site_share_options: Mapping[str, str],
    site_options: Mapping[str, str] | None = None,
) -> list[Drift]:
    """Every difference, by the resource that it belongs to."""
    found = look(instances, work)
    return [
        *_server(instances, work, found, dict(site_options or {})),
        *_accounts(work, found["accounts"]),
        *_shares(instances, work, found, site_share_options),
    ]


def _server(instances: Instances, work: Work, found: Mapping[str, Any], site: Mapping[str, str]) -> Iterator[Drift]:
    server = work.server
    text = config.render(server, instances.layout(server), instances.endpoints(server), site)
    if found["conf"] is None:
        yield Drift(server.name, "smb.conf is missing")
    elif found["conf"] != text:
        yield Drift(server.name, "smb.conf was changed")
    for part, same in found["files"].items():
        if not same:
            yield Drift(server.name, f"the file of accounts ({part}) was changed")


def _accounts(work: Work, accounts: Mapping[str, int]) -> Iterator[Drift]:
    if PROBE_USER not in accounts:
        yield Drift(work.server.name, "the probe's account is missing")
    for user in work.contents.users:
        flags = accounts.get(user.name.last)
        if flags is None:
            yield Drift(user.name, "has no account in Samba")
        elif bool(flags & _DISABLED) != user.spec.disabled:
            yield Drift(user.name, "is disabled" if flags & _DISABLED else "is not disabled")
    for name in sorted(accounts.keys() - set(known_users(work.contents))):
        yield Drift(work.server.name, f"Samba has an account {name} that is not desired")


def _shares(instances: Instances, work: Work, found: Mapping[str, Any], site: Mapping[str, str]) -> Iterator[Drift]:
    server, sections = work.server, dict(found["sections"])
    folded = {name.casefold(): name for name in sections}
    probe = shares.probe(server, instances.layout(server), site)
    if sections.pop(shares.PROBE_SHARE, None) != probe:
        yield Drift(server.name, "the probe share is missing or was changed")
    for share in work.contents.shares:
        section = sections.pop(folded.get(share.name.key, ""), None)
        if section is None:
            yield Drift(share.name, "is not in Samba's registry")
        elif section != (wanted := shares.section(server, share, site)):
            differ = sorted(k for k in section.keys() | wanted.keys() if section.get(k) != wanted.get(k))
            yield Drift(share.name, f"was changed in Samba's registry: {', '.join(differ)}")
        if problem := found["directories"][share.name.last]:
            yield Drift(share.name, problem)
    for name in sorted(sections):
        yield Drift(server.name, f"Samba has a share {name} that is not desired")
