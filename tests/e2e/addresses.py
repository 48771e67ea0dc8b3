"""Loopback addresses for what listens in a test."""

from __future__ import annotations

import random
import socket

PORT = 4455
GATEWAY_METRICS, SERVICE_METRICS = 9741, 9742


def free_address() -> str:
    """One that nobody else is likely to use, with the ports that we want free."""
    while True:
        address = f"127.{random.randint(64, 127)}.{random.randint(1, 254)}.{random.randint(1, 254)}"
        try:
            for port in (PORT, GATEWAY_METRICS, SERVICE_METRICS):
                with socket.socket() as probe:
                    probe.bind((address, port))
        except OSError:
            continue
        return address
