"""What the script can be asked to do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from functools import partial

from services.samba.agent.common import Answer, Fault, Params, fault_of, locked, put_file, text_of, tool
from services.samba.agent.daemon import Daemon
from services.samba.agent.databases import Samba, excluded, lowered
from services.samba.agent.directories import check_directory, make_directory, remove_directory

#: What testparm(1) says of mistakes; its exit status is 0 for most of them.
SUSPICIOUS = re.compile(
    r"unknown parameter|error|warning|invalid|not valid|failed|cannot|can't|deprecated|global parameter", re.I
)
#: Said of servers outside a domain too by some versions.
HARMLESS = re.compile(r"idmap range")
#: Names of dialects that testparm(1) gives back by another.
SAME = {"smb2": "smb2_10", "smb3": "smb3_11"}
TRUE, FALSE = {"yes", "true", "on", "1"}, {"no", "false", "off", "0"}


def accounts_files(request: Answer) -> None:
    for part in ("passwd", "group"):
        put_file(request[part]["path"], request[part]["text"], 0o644)


def configure(request: Answer) -> Answer:
    """Directories, account files, smb.conf. The file is put in place only if testparm(1) finds no fault in it and gives
    back the values that were meant."""
    for path, mode in request["directories"]:
        if not os.path.isdir(path):
            os.makedirs(path, 0o755, exist_ok=True)
            os.chmod(path, mode)
    probe = request["probe_directory"]
    os.makedirs(probe["path"], 0o700, exist_ok=True)
    os.chown(probe["path"], probe["uid"], probe["uid"])
    with locked(request["lock_dir"], os.getppid()) if request["lock_is_new"] else contextlib.nullcontext():
        accounts_files(request)
        if text_of(request["conf"]) == request["text"]:
            return {"changed": False}
        validate(request)
        put_file(request["conf"], request["text"], 0o644)
    Daemon(request).tell("smbd", "reload-config")
    return {"changed": True}


def validate(request: Answer) -> None:
    candidate = f"{request['conf']}.candidate"
    put_file(candidate, request["check_text"], 0o600)
    try:
        tested = tool("testparm", "-s", "-v", candidate)
    finally:
        os.unlink(candidate)
    for line in tested.stderr.splitlines():
        if SUSPICIOUS.search(line) and not HARMLESS.search(line):
            named = re.search(r"""parameter '([^']+)'|"([^"]+)\"""", line)
            parameter = (named[1] or named[2]) if named else ""
            raise Fault("SAMBA_CONFIG_REJECTED", f"testparm: {line.strip()}", parameter=parameter)
    if tested.returncode != 0:
        raise Fault("SAMBA_CONFIG_REJECTED", f"testparm ends with {tested.returncode}", parameter="")
    shown = tested.stdout.partition("[global]")[2].partition("\n[")[0]
    pairs = (line.partition(" = ") for line in shown.splitlines())
    read = {name.strip().lower(): value.strip() for name, _, value in pairs}
    for name, value in request["parameters"].items():
        if plain(read.get(name, "")) != plain(value):
            raise Fault("SAMBA_CONFIG_REJECTED", f"{name} = {value} is read as {read.get(name, '')!r}", parameter=name)


def plain(value: str) -> list[str] | bool:
    """A value without regard to case, to its synonyms, and to how a list is divided."""
    text = SAME.get(value.casefold(), value.casefold())
    return True if text in TRUE else False if text in FALSE else text.replace(",", " ").split()


def apply(request: Answer) -> Answer:
    """Accounts, directories, registry, sessions, in this order. An error of one user or share is its own."""
    accounts_files(request)
    samba, daemon, roots = Samba(request["conf"]), Daemon(request), request["roots"]
    probe = request["probe"]
    if probe["force"] or samba.account(probe["name"]) is None:
        samba.set_account(probe["name"], probe["password"], False)
    if request["known_users"] is not None:
        for name in samba.accounts().keys() - set(request["known_users"]):
            samba.drop_account(name)
    answer: Answer = {"users": {}, "shares": {}}
    for user in request["users"]:
        answer["users"][user["name"]] = attempt(
            "the account database", partial(samba.set_account, user["name"], user["password"], user["disabled"])
        )
    for share in request["shares"]:
        answer["shares"][share["name"]] = attempt(
            share["directory"]["path"], partial(make_directory, share["directory"], roots)
        )
    shares = {share["name"]: share for share in request["shares"] if "error" not in answer["shares"][share["name"]]}
    apply_shares(request, samba, daemon, shares, answer)
    for name, share in shares.items():
        if "error" not in answer["shares"][name] and (problem := check_directory(share["directory"], roots)):
            answer["shares"][name] = {"error": Fault("PATH_UNSUITABLE", problem).answer}
    daemon.end_sessions(
        {u["name"] for u in request["users"] if u["end_sessions"] and "error" not in answer["users"][u["name"]]}
    )
    return answer


def apply_shares(request: Answer, samba: Samba, daemon: Daemon, shares: Answer, answer: Answer) -> None:
    """The registry, and what open connections have to lose. When everything is known, what is not wanted goes too. What has
    to be cut is written down first: killed after the transaction, the script would find nothing that differs."""
    wanted = {name: share["params"] for name, share in shares.items()} | request["probes"]
    unwanted: list[str] = []
    if request["known_shares"] is not None:
        keep = {name.casefold() for name in (*request["probes"], *request["known_shares"])}
        unwanted = [name for folded, name in samba.names().items() if folded not in keep]
    before = {name: section for name, section in samba.sections(wanted).items() if section}
    cut = {name for name, section in before.items() if lowered(section, wanted[name])} | set(unwanted)
    denied = {name for name, section in before.items() if name not in cut and excluded(section, wanted[name])}
    with pending(request["lock_dir"], cut | denied) as left_over:
        for name, fault in samba.change(wanted, unwanted).items():
            if name in request["probes"]:
                raise fault
            answer["shares"][name] = {"error": fault.answer}
        sound = {name for name in cut | denied if "error" not in answer["shares"].get(name, {})}
        daemon.close(sorted(cut & sound | left_over))
        daemon.close_denied(sorted(denied & sound - left_over))


@contextlib.contextmanager
def pending(directory: str, names: set[str]) -> Iterator[set[str]]:
    """Keeps the names in a file until all is done; gives those that an earlier run had not done."""
    path = os.path.join(directory, "pvesmb-agent.pending")
    left_over = set(json.loads(text_of(path) or "[]"))
    if names:
        put_file(path, json.dumps(sorted(names | left_over)), 0o600)
    yield left_over
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def attempt(what: str, action: Callable[[], Answer | None]) -> Answer:
    """Does it for one share or user; an error is the answer."""
    try:
        return action() or {}
    except Fault as fault:
        return {"error": fault.answer}
    except OSError as error:
        return {"error": fault_of(error, what).answer}


def remove(request: Answer) -> Answer:
    """Takes shares and users away. What may not be removed with its data keeps running."""
    roots, shares = request["roots"], {share["name"]: share for share in request["shares"]}
    answer: Answer = {"users": {user: {} for user in request["users"]}, "shares": {}}
    for name, share in shares.items():
        answer["shares"][name] = attempt(
            share["directory"]["path"], partial(remove_directory, share["directory"], roots, really=False)
        )
    shares = {name: share for name, share in shares.items() if "error" not in answer["shares"][name]}
    daemon = Daemon(request)
    if os.path.exists(request["conf"]):
        samba = Samba(request["conf"])
        names = samba.names()
        ours = [
            n
            for n, s in shares.items()
            if n.casefold() in names and owned(samba.section(names[n.casefold()]), s["directory"]["uid"])
        ]
        samba.change({}, ours)
        daemon.close(["*"] if request["whole"] else list(shares))
        for user in request["users"]:
            samba.drop_account(user)
        # While passwd(5) has the users still: smbstatus(1) knows them by its names.
        daemon.end_sessions(set(request["users"]))
        if not request["whole"]:
            accounts_files(request)
    for name, share in shares.items():
        answer["shares"][name] = attempt(
            share["directory"]["path"], partial(remove_directory, share["directory"], roots, really=True)
        )
    return answer


def owned(section: Params, uid: str) -> bool:
    return section.get("pvesmb:uid", uid) == uid


def observe(request: Answer) -> Answer:
    """Everything that can differ, as it is; compared by whoever asked."""
    answer: Answer = {"conf": text_of(request["conf"]), "runs": Daemon(request).runs, "accounts": {}, "sections": {}}
    answer["files"] = {part: text_of(request[part]["path"]) == request[part]["text"] for part in ("passwd", "group")}
    if answer["conf"] is not None and os.path.isdir(request["lock_dir"]):
        samba = Samba(request["conf"])
        answer["accounts"] = samba.accounts()
        answer["sections"] = {name: samba.section(name) for name in samba.registry.share_names()}
    answer["directories"] = {d["name"]: check_directory(d, request["roots"]) for d in request["checks"]}
    return answer


def main() -> None:
    parent = os.getppid()
    # Samba writes to standard output now and then: the answer has it alone.
    output = os.dup(1)
    os.dup2(2, 1)
    os.umask(0o022)
    request = json.load(sys.stdin)
    operation = {"configure": configure, "apply": apply, "remove": remove, "observe": observe}[request["op"]]
    request["lock_is_new"] = not os.path.isdir(request["lock_dir"])
    try:
        with locked(request["lock_dir"], parent):
            answer = operation(request)
    except Fault as fault:
        answer = {"error": fault.answer}
    except Exception:
        # Samba's databases do not say why they could not be written.
        places = filter(os.path.isdir, (request["lock_dir"], os.path.dirname(request["conf"])))
        if all(os.statvfs(place).f_bavail > 0 for place in places):
            raise
        answer = {"error": Fault("STORAGE_FULL", "the storage of the instance's own files is full").answer}
    with os.fdopen(output, "w", encoding="utf-8") as file:
        json.dump(answer, file)
