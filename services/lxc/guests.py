"""How we get into containers: by ssh, with a key of each file server's own."""

from __future__ import annotations

from functools import partial

from services.core.ports import Host, Vault
from services.core.steps import Claims
from services.lxc.known import host_key, pin_host_key
from services.samba.apply import PROGRAM
from services.ssh.hosts import SshHosts
from services.ssh.keys import Key, key_from


class SshGuests:
    """The key is derived and lies on no disk; the host key that a container shows first is kept with its claims."""

    def __init__(self, claims: Claims, vault: Vault) -> None:
        self._vault = vault
        self._hosts = SshHosts(partial(host_key, claims), partial(pin_host_key, claims), program=PROGRAM)

    def public_key(self, uid: str) -> str:
        """The line of the key that may log into the container of the file server with this uid."""
        return f"{self._key(uid).public_line} pvesmb"

    def host(self, uid: str, address: str) -> Host:
        """A host that runs commands in the container at this address."""
        return self._hosts.host(uid, address, self._key(uid))

    def forget(self, uid: str) -> None:
        """Its container is gone."""
        self._hosts.forget(uid)

    def close(self) -> None:
        self._hosts.close()

    def _key(self, uid: str) -> Key:
        return key_from(self._vault.derive(f"ssh:{uid}"))
