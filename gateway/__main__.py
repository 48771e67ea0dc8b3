"""`python -m gateway --config FILE`: the gateway process. The environment overrides keys (`PVESMB_GATEWAY_LISTEN`)."""

from __future__ import annotations

import argparse
import asyncio
import sys

from gateway import app
from services.core.version import VERSION
from services.kit import aio_server, config, logging, metrics

SERVICE = "gateway"
ENV_PREFIX = "PVESMB_GATEWAY_"


def main() -> int:
    parser = argparse.ArgumentParser(prog="pvesmb-gateway", description="Routes calls to the backends.")
    parser.add_argument("--config", metavar="FILE", help="TOML file")
    parser.add_argument("--version", action="version", version=VERSION)
    settings = config.load(app.GatewayConfig, parser.parse_args().config, ENV_PREFIX)
    logging.setup(SERVICE, settings.log_level)
    registry = metrics.make_registry(SERVICE)
    return asyncio.run(aio_server.serve(SERVICE, settings.drain_seconds, lambda: app.start(settings, registry)))


if __name__ == "__main__":
    sys.exit(config.run(main))
