"""Where one Samba instance keeps its things, as its host sees them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Layout:
    """Directories, files and environment of one instance.

    In a guest that is ours alone these are the distribution's places and `environment` is empty; in native mode all lie
    below one directory of the instance's own, and `environment` makes the instance see its own users (nss_wrapper(1)).
    """

    conf: str
    private_dir: str
    state_dir: str
    lock_dir: str
    cache_dir: str
    pid_dir: str
    ncalrpc_dir: str
    log_dir: str
    #: passwd(5) and group(5) files that hold the file server's users; written whole.
    passwd: str
    group: str
    #: Lines of the system's own accounts that stand at the head of these files, so that `root` and `nobody` resolve.
    system_passwd: str = ""
    system_group: str = ""
    #: Directory of the hidden probe share.
    probe_dir: str = ""
    #: Whether smbd listens on every address of its host (a guest that is ours alone, whose address DHCP may change).
    every_address: bool = False
    #: The extended attribute in which vfs_acl_xattr(8) keeps Windows' permissions, where it may not be Samba's own choice
    #: (security.NTACL): that takes CAP_SYS_ADMIN in the initial user namespace, and Proxmox VE's backups leave it out.
    nt_acl_attribute: str = ""
    #: Set for smbd and for each of its tools, as (name, value).
    environment: tuple[tuple[str, str], ...] = ()

    def command(self, *argv: str) -> list[str]:
        """The command with the instance's environment, as `env(1)` sets it."""
        if not self.environment:
            return list(argv)
        return ["env", *(f"{name}={value}" for name, value in self.environment), *argv]

    @property
    def probe_path(self) -> str:
        """Where the probe share lies."""
        return self.probe_dir or f"{self.state_dir}/probe"

    @property
    def directories(self) -> tuple[tuple[str, int], ...]:
        """What must exist before smbd starts, with the mode of those that are new. smbd refuses an ncalrpc directory that
        is not 0755, and testparm(1) warns of lock and state directories that are not."""
        return (
            (self.private_dir, 0o700),
            (self.state_dir, 0o755),
            (self.lock_dir, 0o755),
            (self.cache_dir, 0o755),
            (self.pid_dir, 0o755),
            (self.ncalrpc_dir, 0o755),
            (self.log_dir, 0o750),
        )
