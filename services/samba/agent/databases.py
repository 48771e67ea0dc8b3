"""Samba's account database and registry.

Measured with 4.17.12: a share taken out of the registry is still given to sessions that used it, until `close-share`;
`close-denied-share` cuts those that lost all rights, but lets the others keep rights that were lowered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.samba.agent.common import Fault, Params

SCRATCH = "pvesmb-scratch"
ACB_DISABLED, ACB_NORMAL = 0x01, 0x10
#: Options whose change takes rights away from open sessions in a way that `close-denied-share` does not see.
BINDING = ("force user", "force group", "hosts allow", "hosts deny", "guest ok")


class Samba:
    """The instance's account database and registry."""

    def __init__(self, conf: str) -> None:
        try:
            from samba.samba3 import param, passdb, smbconf
            from samba.smbconf import SBC_ERR_INVALID_PARAM, SMBConfError
        except ImportError:
            raise Fault("HOST_NOT_PREPARED", "python3-samba is missing on the host", name="python3-samba") from None
        settings = param.get_context()
        settings.load(conf)
        self._refused, self._unknown, self._invalid = SMBConfError, passdb.error, SBC_ERR_INVALID_PARAM
        self.passdb = passdb.PDB(settings.get("passdb backend"))
        self.registry = smbconf.init_reg(None)

    # Accounts

    def account(self, name: str) -> Any:
        try:
            return self.passdb.getsampwnam(name)
        except self._unknown as error:
            if "(-1073741724," in str(error):  # NT_STATUS_NO_SUCH_USER
                return None
            raise

    def accounts(self) -> dict[str, int]:
        return {row["account_name"]: row["acct_flags"] for row in self.passdb.search_users(0)}

    def set_account(self, name: str, password: str | None, disabled: bool) -> None:
        account = self.account(name)
        if password is None and (account is None or account.nt_passwd is None):
            raise Fault(
                "PRECONDITION_FAILED",
                f"the account of {name} is lost, and its password with it",
                "Set a new password: ResetPassword.",
            )
        if account is None:
            self.passdb.create_user(name, ACB_NORMAL)
            account = self.account(name)
        if password is not None:
            account.plaintext_passwd = password
        flags = ACB_NORMAL | (ACB_DISABLED if disabled else 0)
        if password is not None or account.acct_ctrl != flags:
            account.acct_ctrl = flags
            self.passdb.update_sam_account(account)
        account = self.account(name)
        if account is None or account.acct_ctrl != flags or account.nt_passwd is None:
            raise Fault("NOT_CONFIRMED", f"the account of {name} is not as it was written")

    def drop_account(self, name: str) -> None:
        account = self.account(name)
        if account is not None:
            self.passdb.delete_sam_account(account)

    # Shares

    def names(self) -> dict[str, str]:
        """Names in the registry by their case-folded form."""
        return {name.casefold(): name for name in self.registry.share_names()}

    def section(self, name: str) -> Params:
        return dict(self.registry.get_share(name)[1])

    def sections(self, wanted: Iterable[str]) -> dict[str, Params]:
        """The sections of these shares as they are; empty for those that are not there."""
        names = self.names()
        return {name: self.section(names[name.casefold()]) if name.casefold() in names else {} for name in wanted}

    def change(self, wanted: dict[str, Params], unwanted: list[str]) -> dict[str, Fault]:
        """Brings the registry to the wanted shares in one transaction. A share that Samba refuses is left out and the
        transaction made again; answers which were."""
        names, before = self.names(), self.sections(wanted)
        differ = {n: p for n, p in wanted.items() if before[n] != p or names[n.casefold()] != n}
        drop = [names[name.casefold()] for name in unwanted if name.casefold() in names]
        faults: dict[str, Fault] = {}
        while differ or drop:
            refused = self._transaction(differ, drop, names)
            if refused is None:
                break
            faults[refused] = self._fault(refused, differ.pop(refused))
        for name, params in differ.items():
            if self.section(name) != params:
                odd = next((k for k in params if self.section(name).get(k) != params[k]), "")
                faults[name] = Fault(
                    "SAMBA_CONFIG_REJECTED", f"share {name}: Samba stores {odd!r} otherwise", parameter=odd
                )
        return faults

    def _transaction(self, put: dict[str, Params], drop: list[str], names: dict[str, str]) -> str | None:
        """One transaction; the name of the share that was refused, if one was: then nothing is changed."""
        self.registry.transaction_start()
        current = ""
        try:
            for current in drop:
                self.registry.delete_share(current)
            for current, params in put.items():
                if current.casefold() in names:
                    self.registry.delete_share(names[current.casefold()])
                self.registry.create_set_share(current, list(params.items()))
        except self._refused as error:
            self.registry.transaction_cancel()
            if current in put and error.args[0] == self._invalid:
                return current
            raise
        except BaseException:
            self.registry.transaction_cancel()
            raise
        self.registry.transaction_commit()
        return None

    def _fault(self, share: str, params: Params) -> Fault:
        """Finds the option that was refused, by trying each in a transaction that is given up."""
        for name, value in params.items():
            self.registry.transaction_start()
            try:
                self.registry.create_set_share(SCRATCH, [(name, value)])
            except self._refused:
                return Fault(
                    "SAMBA_CONFIG_REJECTED",
                    f"share {share}: Samba refuses the option {name!r} or its value",
                    parameter=name,
                )
            finally:
                self.registry.transaction_cancel()
        return Fault("SAMBA_CONFIG_REJECTED", f"share {share}: Samba refuses its options together", parameter="")


def words(params: Params, name: str) -> set[str]:
    return set(params.get(name, "").replace(",", " ").split())


def lowered(before: Params, after: Params) -> bool:
    """Whether somebody may lose rights while keeping others."""
    if any(before.get(name, "") != after.get(name, "") for name in BINDING):
        return True
    if after.get("server smb encrypt") == "required" != before.get("server smb encrypt"):
        return True
    return any(words(before, name) - words(after, name) for name in ("write list", "admin users"))


def excluded(before: Params, after: Params) -> bool:
    """Whether somebody may lose all rights."""
    return any(before.get(name, "") != after.get(name, "") for name in ("valid users", "invalid users"))
