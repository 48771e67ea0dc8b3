"""Which further smb.conf(5) options a share may carry, and why; the rest is refused with the reason.

The list is closed: an option that is not named here is refused. `docs/smb-options.md` is made from it
(`python -m services.samba.options`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from services.core.errors import InvalidField

MAX_VALUE = 1024

BOOL = ("yes", "no")
_BOOL_WORDS = {"yes": "yes", "true": "yes", "on": "yes", "1": "yes", "no": "no", "false": "no", "off": "no", "0": "no"}


@dataclass(frozen=True)
class Option:
    """An option that is allowed: the values it takes (words, or a pattern with its description), and why it may be set."""

    why: str
    words: tuple[str, ...] = ()
    pattern: str = ""
    form: str = ""

    @property
    def values(self) -> str:
        return ", ".join(f"`{word}`" for word in self.words) or self.form


def _bool(why: str, *more: str) -> Option:
    return Option(why, (*BOOL, *more))


def _number(why: str, least: int, most: int) -> Option:
    return Option(why, pattern=f"{least}..{most}", form=f"a number from {least} to {most}")


def _octal(why: str, pattern: str, form: str) -> Option:
    return Option(why, pattern=pattern, form=form)


_NAMES = r"/(?:[^/]+/)+"
_NAMES_FORM = "names or patterns with `*` and `?`, each between slashes: `/*.tmp/.DS_Store/`"

ALLOWED: Mapping[str, Option] = {
    "access based share enum": _bool("lists the share only for those who may use it"),
    "acl allow execute always": _bool("lets Windows start programs without the execute bit"),
    "acl group control": _bool("lets the owning group change permissions"),
    "acl map full control": _bool("shows rwx as full control"),
    "aio read size": _number("tuning of asynchronous reads", 0, 16777216),
    "aio write size": _number("tuning of asynchronous writes", 0, 16777216),
    "allocation roundup size": _number("tuning of the size shown as allocated", 0, 1073741824),
    "block size": _number("block size shown to clients", 1024, 1048576),
    "case sensitive": _bool("whether `A` and `a` are two names; `auto` leaves it to the client", "auto"),
    "csc policy": Option("whether clients keep offline copies", ("manual", "documents", "programs", "disable")),
    "default case": Option("case of new names when it is not preserved", ("upper", "lower")),
    "delete readonly": _bool("lets files with the read-only attribute be deleted"),
    "delete veto files": _bool("lets directories that hold only vetoed files be deleted"),
    "directory name cache size": _number("tuning of directory listings", 0, 100000),
    "dont descend": Option("directories shown empty", pattern=r"[^\"]+", form="names separated by commas"),
    "dos filemode": _bool("lets those who may write a file change its permissions"),
    "dos filetime resolution": _bool("rounds times to two seconds, for old programs"),
    "dos filetimes": _bool("lets those who may write a file set its times"),
    "durable handles": _bool("lets open files survive a short break of the connection"),
    "ea support": _bool("keeps extended attributes of files"),
    "fake directory create times": _bool("helps build tools that compare times of directories"),
    "follow symlinks": _bool("`no` hides symbolic links; links never lead out of the share in any case"),
    "force create mode": _octal("modes that new files always have", r"0?0?[0-7]{3}", "three octal digits"),
    "force directory mode": _octal(
        "modes that new directories always have", r"0?[0-3]?[0-7]{3}", "octal digits up to 3777"
    ),
    "hide dot files": _bool("shows names that begin with a dot as hidden"),
    "hide files": Option("shows these names as hidden", pattern=_NAMES, form=_NAMES_FORM),
    "hide special files": _bool("does not list sockets, devices and pipes"),
    "hide unreadable": _bool("lists only what the user may read"),
    "hide unwriteable files": _bool("lists only what the user may write"),
    "inherit acls": _bool("new directories take over the default ACL of the one above"),
    "inherit permissions": _bool("new files take over the modes of the directory"),
    "kernel oplocks": _bool("lets local programs break clients' caching"),
    "kernel share modes": _bool("lets local programs see share modes"),
    "level2 oplocks": _bool("shared caching by clients"),
    "mangled names": Option("short names for old programs", ("yes", "no", "illegal")),
    "map acl inherit": _bool("keeps the inheritance flags of Windows ACLs"),
    "map archive": _bool("keeps the archive attribute in the execute bit of the owner"),
    "map hidden": _bool("keeps the hidden attribute in the execute bit of others"),
    "map readonly": Option("how the read-only attribute is kept", ("yes", "no", "permissions")),
    "map system": _bool("keeps the system attribute in the execute bit of the group"),
    "nt acl support": _bool("shows permissions as Windows ACLs"),
    "oplocks": _bool("caching by clients; `no` for files that local programs change too"),
    "posix locking": _bool("lets local programs see locks"),
    "preserve case": _bool("keeps the case of new names"),
    "short preserve case": _bool("keeps the case of new short names"),
    "store dos attributes": _bool("keeps DOS attributes in an extended attribute"),
    "strict allocate": _bool("allocates space when a file grows"),
    "strict locking": _bool("checks locks at every read and write", "auto"),
    "strict rename": _bool("refuses to rename directories with open files below"),
    "strict sync": _bool("writes through to the disk when a client asks"),
    "sync always": _bool("writes through to the disk at every write"),
    "use sendfile": _bool("tuning of reads"),
    "veto files": Option("names that can be neither seen nor made", pattern=_NAMES, form=_NAMES_FORM),
    "veto oplock files": Option("names that clients do not cache", pattern=_NAMES, form=_NAMES_FORM),
    "volume": Option(
        "volume label shown to clients", pattern=r"[A-Za-z0-9 ._-]{1,32}", form="up to 32 letters, digits, `. _ -`"
    ),
}

_RUNS = "runs a command on the server as root"
_FIELD = "is set by the field `{}`"

REFUSED: Mapping[str, str] = {
    **{
        name: _FIELD.format(field)
        for name, field in {
            "path": "directory.path", "comment": "comment", "browseable": "browseable", "read only": "read_only",
            "guest ok": "guest_access", "guest only": "guest_access", "valid users": "access", "invalid users": "access",
            "read list": "access", "write list": "access", "admin users": "access", "hosts allow": "hosts_allow",
            "hosts deny": "hosts_deny", "server smb encrypt": "encryption_required", "max connections": "max_connections",
            "force user": "file_creation.force_user", "force group": "file_creation.force_group",
            "create mask": "file_creation.create_mask", "directory mask": "file_creation.directory_mask",
        }.items()
    },
    **dict.fromkeys(("preexec", "postexec", "root preexec", "root postexec", "preexec close", "root preexec close"), _RUNS),
    **dict.fromkeys(("dfree command", "magic script", "magic output", "message command", "print command"), _RUNS),
    "vfs objects": "loads code into smbd; modules are switched on by their own fields or by the site's administrator",
    "wide links": "lets symbolic links lead out of the share",
    "include": "reads another file of the server",
    "copy": "takes over another share's rights",
    "config file": "reads another file of the server",
    "available": "takes the share away; delete it instead",
    "msdfs root": "sends clients to other servers",
    "msdfs proxy": "sends clients to other servers",
    "inherit owner": "takes files away from those who make them; use the field `file_creation.force_user`",
    "access control": "is not an option of smb.conf(5)",
    "printable": "makes a printer of the share",
    "max print jobs": "belongs to printers",
    "fstype": "misleads clients about the file system",
}  # fmt: skip

#: Other spellings that smb.conf(5) gives, to the one that Samba stores. Those that mean the opposite are refused anyway.
SYNONYMS: Mapping[str, str] = {
    "allow hosts": "hosts allow", "browsable": "browseable", "casesignames": "case sensitive", "create mode": "create mask",
    "deny hosts": "hosts deny", "directory": "path", "directory mode": "directory mask", "exec": "preexec",
    "group": "force group", "only guest": "guest only", "public": "guest ok", "print ok": "printable",
    "smb encrypt": "server smb encrypt", "vfs object": "vfs objects", "writable": "read only", "write ok": "read only",
    "writeable": "read only",
}  # fmt: skip


def _squeeze(name: str) -> str:
    """Samba compares names without regard to case and white space."""
    return "".join(name.split()).lower()


_CANONICAL = {_squeeze(name): name for name in (*ALLOWED, *REFUSED)} | {_squeeze(k): v for k, v in SYNONYMS.items()}


def canonical(name: str) -> str:
    """The spelling that Samba stores, as far as it is known here."""
    return _CANONICAL.get(_squeeze(name), " ".join(name.split()).lower())


def check_options(options: Mapping[str, str]) -> None:
    """Raises `InvalidField` at `smb_options[NAME]` for the first option that a share may not have."""
    cleaned(options)


def cleaned(options: Mapping[str, str]) -> dict[str, str]:
    """The options as they are given to Samba, by their canonical names; `InvalidField` if one is not allowed."""
    result: dict[str, str] = {}
    for given, value in options.items():
        field, name = f"smb_options[{given}]", canonical(given)
        if name not in ALLOWED:
            raise InvalidField.of(field, _refusal(name))
        if name in result:
            raise InvalidField.of(field, f"{name!r} is given twice")
        result[name] = _value(field, ALLOWED[name], value)
    return result


def _refusal(name: str) -> str:
    if name in REFUSED:
        return f"is refused: it {REFUSED[name]}"
    if ":" in name:
        return "is refused: it belongs to a VFS module, which a share cannot choose"
    return "is refused: it is not in the list of docs/smb-options.md"


def _value(field: str, option: Option, value: str) -> str:
    text = value.strip()
    if not text:
        raise InvalidField.of(field, "must have a value; leave the option out for the default")
    if len(text) > MAX_VALUE or not text.isprintable():
        raise InvalidField.of(field, f"must be one line of at most {MAX_VALUE} characters")
    if "%" in text:
        raise InvalidField.of(field, "must not contain %, which smb.conf(5) substitutes")
    word = text.lower()
    if option.words:
        word = _BOOL_WORDS.get(word, word) if "yes" in option.words else word
        if word not in option.words:
            raise InvalidField.of(field, f"must be one of {', '.join(option.words)}")
        return word
    if re.fullmatch(r"\d+\.\.\d+", option.pattern):
        least, most = map(int, option.pattern.split(".."))
        if not re.fullmatch(r"[0-9]{1,10}", text) or not least <= int(text) <= most:
            raise InvalidField.of(field, f"must be {option.form}")
    elif not re.fullmatch(option.pattern, text):
        raise InvalidField.of(field, f"must be {option.form}")
    return text


def markdown() -> str:
    """The page `docs/smb-options.md`."""
    lines = [
        "# Options of smb.conf that a share may carry",
        "",
        "`smb_options` of a share takes these names of smb.conf(5), in any case, with the values below. A value is one",
        f"line of at most {MAX_VALUE} characters without `%`. Everything else is refused with `FIELD_INVALID`.",
        "",
        "| option | values | what it does |",
        "|---|---|---|",
        *(f"| `{name}` | {option.values} | {option.why} |" for name, option in sorted(ALLOWED.items())),
        "",
        "## Refused, with the reason",
        "",
        "| option | why: it |",
        "|---|---|",
        *(f"| `{name}` | {why} |" for name, why in sorted(REFUSED.items())),
        "",
        "Options of VFS modules (`module:option`) are refused too, and so is everything that is not named on this page.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(), end="")
