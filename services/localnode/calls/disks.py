"""Volumes of a guest, made for a key of its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from services.localnode.calls import settings
from services.localnode.node import Node
from services.localnode.tasks import Say
from services.localnode.volumes import Unpack


@dataclass(frozen=True)
class Root:
    """What a root disk is filled from."""

    template: Path
    unpack: Unpack


def add_volume(node: Node, vmid: int, volume: settings.NewVolume, say: Say, root: Root | None = None) -> None:
    """Makes a volume and writes it into the configuration: first there, then said."""
    storage = node.storage(volume.storage)
    storage.need_space(volume.size)
    volid = storage.free_volume(vmid)
    file = storage.file(volid)
    say(f"Formatting '{file}', fmt={storage.volumes.format} size={volume.size} preallocation=off")
    if root is None:
        storage.volumes.create(file, volume.size)
    else:
        at = settings.mount_point(node, vmid, volume.key)
        storage.volumes.create_root(file, volume.size, at, root.template, root.unpack)
    with node.state.change() as facts:
        facts.guests[vmid].config[volume.key] = settings.volume_value(volume, volid)
