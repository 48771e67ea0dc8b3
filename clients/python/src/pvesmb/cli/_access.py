"""Access rules as options: `NAME[:LEVEL]`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pvesmb.v1.share_pb2 import AccessRule

LEVELS = ("deny", "read", "read-write", "admin")
_DEFAULT = "read-write"


@dataclass(frozen=True)
class Rules:
    """What the options say. `users` and `groups` are all rules, the others change the rules that there are; `everyone` is
    a level, or `none` for no such rule."""

    users: Sequence[str] = ()
    groups: Sequence[str] = ()
    everyone: str | None = None
    add_users: Sequence[str] = ()
    add_groups: Sequence[str] = ()
    remove_users: Sequence[str] = ()
    remove_groups: Sequence[str] = ()

    @property
    def replaces(self) -> bool:
        return bool(self.users or self.groups)

    @property
    def given(self) -> bool:
        return self.replaces or self.changes or self.everyone is not None

    @property
    def changes(self) -> bool:
        return bool(self.add_users or self.add_groups or self.remove_users or self.remove_groups)

    def applied(self, current: Iterable[AccessRule]) -> list[AccessRule]:
        """The rules that are wanted, given those that there are."""
        if self.replaces and self.changes:
            raise typer.BadParameter("--user and --group replace all rules; do not mix them with --add-… and --remove-…")
        rules = {} if self.replaces else {_key(rule): rule for rule in current}
        for kind, names in (("user", self.remove_users), ("group", self.remove_groups)):
            for name in names:
                if rules.pop((kind, name), None) is None:
                    raise typer.BadParameter(f"--remove-{kind}: there is no rule for {name!r}")
        prefix = "" if self.replaces else "add-"
        for kind, texts in (("user", [*self.users, *self.add_users]), ("group", [*self.groups, *self.add_groups])):
            seen: set[str] = set()
            for text in texts:
                name, level = split(f"--{prefix}{kind}", text)
                if name in seen:
                    raise typer.BadParameter(f"--{prefix}{kind}: {name!r} is given twice")
                seen.add(name)
                rules[kind, name] = _rule(kind, name, level)
        if self.everyone == "none":
            rules.pop(("everyone", ""), None)
        elif self.everyone is not None:
            rules["everyone", ""] = _rule("everyone", "", _level("--everyone", self.everyone))
        return list(rules.values())


def split(option: str, text: str) -> tuple[str, str]:
    """Name and level of `NAME[:LEVEL]`."""
    name, colon, level = text.partition(":")
    if not name:
        raise typer.BadParameter(f"{option}: {text!r} is not NAME[:LEVEL]")
    return name, _level(option, level) if colon else _DEFAULT


def describe(rule: AccessRule) -> str:
    """`anna:read`, `@staff:read-write`, `everyone:read`, as smb.conf marks groups."""
    from pvesmb.cli._show import word

    kind, name = _key(rule)
    who = {"user": name, "group": f"@{name}"}.get(kind, kind)
    return f"{who}:{word(type(rule).DESCRIPTOR.enum_types_by_name['AccessLevel'], rule.level, 'ACCESS_LEVEL_')}"


def _level(option: str, text: str) -> str:
    if text not in LEVELS:
        raise typer.BadParameter(f"{option}: unknown level {text!r}; known are {', '.join(LEVELS)}")
    return text


def _key(rule: AccessRule) -> tuple[str, str]:
    kind = rule.WhichOneof("principal") or ""
    return kind, "" if kind == "everyone" else str(getattr(rule, kind, ""))


def _rule(kind: str, name: str, level: str) -> AccessRule:
    from pvesmb.v1.share_pb2 import AccessRule

    value = AccessRule.AccessLevel.Value("ACCESS_LEVEL_" + level.upper().replace("-", "_"))
    if kind == "user":
        return AccessRule(user=name, level=value)
    return AccessRule(group=name, level=value) if kind == "group" else AccessRule(everyone=True, level=value)
