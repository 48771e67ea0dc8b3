"""The desired state of a file server. Field meanings, limits and defaults: `protos/pvesmb/v1/file_server.proto`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from services.core.domain import checks
from services.core.domain.guest import LxcDeployment
from services.core.errors import InvalidField


class Dialect(Enum):
    """The oldest dialect spoken; the values are smb.conf(5)'s."""

    SMB2_10 = "SMB2_10"
    SMB3_00 = "SMB3_00"
    SMB3_11 = "SMB3_11"


class Demand(Enum):
    OFF = "off"
    DESIRED = "desired"
    REQUIRED = "required"


class DriftPolicy(Enum):
    REPAIR = "REPAIR"
    REPORT = "REPORT"


@dataclass(frozen=True)
class SmbSettings:
    """What the whole server does by SMB; the defaults are the safe ones."""

    min_protocol: Dialect = Dialect.SMB3_00
    signing: Demand = Demand.REQUIRED
    encryption: Demand = Demand.DESIRED
    allow_guests: bool = False
    netbios_name: str = ""
    workgroup: str = "WORKGROUP"

    def __post_init__(self) -> None:
        if self.signing is Demand.OFF:
            raise InvalidField.of("signing", "must not be off: unsigned connections can be taken over")
        checks.netbios("netbios_name", self.netbios_name)
        checks.netbios("workgroup", self.workgroup)
        if self.encryption is Demand.REQUIRED and self.allow_guests:
            raise InvalidField.of("allow_guests", "guests cannot encrypt, but encryption is required")


@dataclass(frozen=True)
class NativeDeployment:
    """Where a native file server listens. Empty addresses and port 0 mean the backend's configured ones."""

    listen_addresses: tuple[str, ...] = ()
    port: int = 0

    def __post_init__(self) -> None:
        checks.addresses("listen_addresses", self.listen_addresses)
        checks.within("port", self.port, 0, 65535)
        if len(set(self.listen_addresses)) != len(self.listen_addresses):
            raise InvalidField.of("listen_addresses", "must not name an address twice")


@dataclass(frozen=True)
class FileServerSpec:
    """What the caller wants of a file server."""

    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    drift_policy: DriftPolicy = DriftPolicy.REPAIR
    smb: SmbSettings = SmbSettings()
    native: NativeDeployment | None = None
    lxc: LxcDeployment | None = None

    def __post_init__(self) -> None:
        checks.one_line("description", self.description, 256, forbidden="%")
        checks.labels("labels", self.labels)
