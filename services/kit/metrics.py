"""The `/metrics` endpoint of a process."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Gauge, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from services.core.version import VERSION
from services.kit.config import ConfigError, parse_address


def make_registry(service: str) -> CollectorRegistry:
    """A registry of its own for one process, with what every process shows."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    info = Gauge("pvesmb_build_info", "1; the labels say what runs", ["service", "version"], registry=registry)
    info.labels(service, VERSION).set(1)
    return registry


def start(listen: str, registry: CollectorRegistry) -> Callable[[], None]:
    """Serves the registry at http://LISTEN/metrics until the returned function is called; nothing if `listen` is empty."""
    if not listen:
        return lambda: None
    address = parse_address(listen)
    try:
        server, thread = start_http_server(address.port, address.host, registry)
    except OSError as e:
        raise ConfigError(f"metrics_listen {listen!r}: {e.strerror}. Choose another address.") from None

    def stop() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return stop
