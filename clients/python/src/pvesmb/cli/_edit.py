"""Updates that change only what the options name."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pvesmb._errors import InvalidArgument
from pvesmb.cli._command import Changing
from pvesmb.cli._follow import change


def update(
    session: Changing,
    collection: Any,
    name: str,
    fill: Callable[[Any], list[str]],
    etag: str,
    *,
    labels: Iterable[str] = (),
) -> None:
    """Reads the resource, changes it, and sends the changed fields. The etag that was read goes along, since lists and
    maps are sent whole: somebody else's change in between must not be lost."""
    resource = collection.get(name)
    for label in labels:
        if label not in resource.labels:
            raise InvalidArgument(f"there is no label {label!r} on it")
        del resource.labels[label]
    paths = fill(resource) + (["labels"] if labels else [])
    if not paths:
        raise InvalidArgument("nothing is to be changed", help="Give at least one option; --help lists them.")
    if etag:
        resource.etag = etag
    change(session, lambda **how: collection.update(resource, sorted(set(paths)), **how), "done")
