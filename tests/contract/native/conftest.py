"""Real places for tests with real smbd, mounts and loop devices; whatever a test leaves behind is taken away."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator

import pytest

from services.native import smbd
from services.native.host import LocalHost
from services.native.settings import NativeSettings
from services.native.volumes import Volumes, remove_mount_point


@pytest.fixture
def host() -> LocalHost:
    return LocalHost()


@pytest.fixture
def place() -> Iterator[str]:
    """A directory that every user can pass, and a short path. Mounts below it are taken away, innermost first."""
    path = tempfile.mkdtemp(prefix="pvesmb-native-")
    os.chmod(path, 0o755)
    yield path
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        points = [line.split(" ")[4] for line in file]
    for point in sorted((p for p in points if p.startswith(path + "/")), reverse=True):
        subprocess.run(["umount", point], check=False)
    for root, directories, _ in os.walk(path):
        for directory in directories:
            with contextlib.suppress(OSError):
                remove_mount_point(os.path.join(root, directory))
    shutil.rmtree(path)


@pytest.fixture
def port() -> int:
    """A port that is free on every address now."""
    with socket.socket() as probe:
        probe.bind(("0.0.0.0", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def settings(place: str, port: int) -> Iterator[NativeSettings]:
    """Whatever smbd is started below these settings is ended with the test."""
    settings = NativeSettings("node1", f"{place}/state", f"{place}/data", default_address="127.0.0.1", default_port=port)
    yield settings
    for directory in glob.glob(f"{settings.servers_dir}/*"):
        smbd.stop(settings.layout(os.path.basename(directory)))


@pytest.fixture
def volumes(settings: NativeSettings, host: LocalHost) -> Volumes:
    return Volumes(host, settings.image_dir)
