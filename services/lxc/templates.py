"""Which template a file server is made from."""

from __future__ import annotations

from collections.abc import Callable

from services.core.errors import HostNotPrepared
from services.lxc.settings import LxcSettings
from services.proxmox.session import Api
from services.proxmox.storage import list_stored
from services.samba.instance import Server


def newest_template(settings: LxcSettings, api: Api) -> Callable[[Server], str]:
    def choose(server: Server) -> str:
        found = list_stored(api, settings.node_of(server.spec), settings.template_storage, content="vztmpl")
        ours = sorted(each.volid for each in found if "/pvesmb-debian-12-" in each.volid)
        if not ours:
            raise HostNotPrepared("there is no template yet", help="Build one: `pvesmb template build`.")
        return ours[-1]

    return choose
