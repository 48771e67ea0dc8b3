"""Builds a template with mmdebstrap. Needs root, the program, and a package mirror.

The build runs in mount and pid namespaces of its own that end with it: whatever happens to it, or to this process, no
process and no mount outlives it, and its directory is removed here or by the next build.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import selectors
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from logging import getLogger
from pathlib import Path
from time import sleep

from services.core.errors import HostNotPrepared, OperationCancelled, PvesmbError, StorageFull
from services.lxc.template.description import Description
from services.lxc.template.sources import apt_settings, debian_sources, machine_codename

log = getLogger(__name__)

#: Told how much is done (0 to 1, never less than before) and what is being done.
Progress = Callable[[float, str], None]

_NEEDED = {"mmdebstrap": "mmdebstrap", "zstd": "zstd", "apt-get": "apt", "unshare": "util-linux", "setpriv": "util-linux"}
_HERE = Path(__file__).parent
_POLL = 0.2
#: Lines of apt and dpkg that tell of one more piece of work; a build has about this many, and takes this part of the time.
_STEP = re.compile(r"(?P<what>Get:\d+ \S+ \S+ \S+|Unpacking|Setting up) (?P<package>\S+)")
_STEPS, _STEPS_PART = 560, 0.85
_VERBS = {"G": "fetching", "U": "unpacking", "S": "setting up"}
_ELSEWHERE = (
    "Or build it on a machine that can (`python -m services.lxc.template --out DIR`), and put the file into the backend's "
    "directory `templates`."
)


def build(
    description: Description,
    directory: Path,
    *,
    fresh: bool = False,
    progress: Progress = lambda _, __: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Path:
    """The template's file in `directory`, made if it is not there; with `fresh` made anew in any case. A second build waits
    for the first. A cancelled one raises `OperationCancelled`, and leaves nothing, like one that failed."""
    made = directory / description.file_name
    if made.is_file() and not fresh:
        return made
    _check_machine()
    directory.mkdir(parents=True, exist_ok=True)
    with _alone(directory, cancelled):
        if fresh or not made.is_file():
            _build(description, directory, made, progress, cancelled)
    return made


def _build(
    description: Description, directory: Path, made: Path, progress: Progress, cancelled: Callable[[], bool]
) -> None:
    work = Path(tempfile.mkdtemp(prefix=".build-", dir=directory))
    try:
        work.chmod(0o711)  # apt fetches as a user of its own
        archive = work / made.name
        _lay_out(description, work)
        _run(_command(description, work, archive), _environment(description, work), progress, cancelled)
        _make_durable(archive)
        archive.rename(made)
    except OSError as error:
        raise _disk_error(error, directory) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    progress(1.0, "built")


def _check_machine() -> None:
    missing = sorted({package for program, package in _NEEDED.items() if shutil.which(program) is None})
    if missing:
        raise HostNotPrepared(
            f"a template cannot be built here: {', '.join(missing)} not installed",
            help=f"Install it: apt install {' '.join(missing)}. {_ELSEWHERE}",
        )
    if os.geteuid() != 0:
        raise HostNotPrepared("a template can only be built by root", help=f"Run the backend as root. {_ELSEWHERE}")


@contextmanager
def _alone(directory: Path, cancelled: Callable[[], bool]) -> Iterator[None]:
    """Holds the directory's lock. Work that lies there meanwhile is of a build that died."""
    with (directory / ".lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if cancelled():
                    raise OperationCancelled("the build was cancelled") from None
                sleep(_POLL)
        for left in directory.glob(".build-*"):
            shutil.rmtree(left, ignore_errors=True)
        yield


def _lay_out(description: Description, work: Path) -> None:
    """The files that the build reads, with modes that do not follow from how this program was installed."""
    texts = {work / "root" / path.lstrip("/"): (text, 0o644) for path, text in description.files.items()}
    texts[work / "apt.conf"] = (apt_settings(), 0o644)
    texts[work / "customize"] = (description.customize, 0o755)
    texts[work / "setup"] = ((_HERE / "setup").read_text(), 0o755)
    for path, (text, mode) in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
    for each in (work / "root").rglob("*"):
        if each.is_dir():
            each.chmod(0o755)


def _command(description: Description, work: Path, archive: Path) -> list[str]:
    sources = debian_sources(description.suite, machine_codename()).splitlines()
    encrypted = any("https://" in source for source in sources)  # then the container cannot be updated without
    return [
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"),
        *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=tar", "--verbose"),
        f"--include={','.join([*description.packages, *(['ca-certificates'] if encrypted else [])])}",
        # Ours does it: apt's own clean-up leaves other owners where its directory was closed to its user.
        "--skip=cleanup/apt",
        '--aptopt=Apt::Install-Recommends "false"',
        *(f"--dpkgopt=path-exclude={path}" for path in description.left_out),
        *(f"--dpkgopt=path-include={path}" for path in description.kept),
        # The links of the merged /usr are laid first: else a package does it that brings the whole of Perl.
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--setup-hook={work / 'setup'}",
        f"--customize-hook={work / 'customize'}",
        description.suite,
        str(archive),
        *sources,
    ]


def _environment(description: Description, work: Path) -> dict[str, str]:
    given = {name: value for name, value in os.environ.items() if name.lower() in {"http_proxy", "https_proxy", "no_proxy"}}
    return {
        **given,
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LC_ALL": "C.UTF-8",
        "TMPDIR": str(work),
        "SOURCE_DATE_EPOCH": str(description.epoch),
        "ZSTD_CLEVEL": "12",
        "ZSTD_NBTHREADS": "2",
    }


def _run(argv: list[str], environment: dict[str, str], progress: Progress, cancelled: Callable[[], bool]) -> None:
    process = subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        umask=0o022,  # a service's is narrower, and would go into the template
    )
    said: list[str] = []
    try:
        steps, reached = 0, 0.0
        for line in _lines(process, cancelled):
            said = [*said[-40:], line]
            found = _STEP.match(line)
            if found:
                steps += 1
                reached = min(_STEPS_PART, steps / _STEPS * _STEPS_PART)
                progress(reached, f"{_VERBS[line[0]]} {found['package']}")
            elif line.startswith("I: creating tarball"):
                progress(_STEPS_PART, "packing")
    finally:
        process.kill()
        assert process.stdout is not None
        process.stdout.read()  # ends when the last process of the build has
        process.stdout.close()
        process.wait()
    if process.returncode != 0:
        raise _failure(said)


def _lines(process: subprocess.Popen[bytes], cancelled: Callable[[], bool]) -> Iterator[str]:
    """What the build says, until it has ended; often enough a look whether it is still wanted."""
    assert process.stdout is not None
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if cancelled():
                raise OperationCancelled("the build was cancelled")
            if not selector.select(_POLL):
                continue
            got = os.read(process.stdout.fileno(), 65536)
            if not got:
                process.wait()
                return
            *lines, rest = (rest + got).split(b"\n")
            for line in lines:
                yield line.decode(errors="replace").rstrip()


def _failure(said: list[str]) -> PvesmbError:
    for line in said:
        log.error("mmdebstrap: %s", line)
    text = "\n".join(said)
    errors = [line for line in said if line.startswith(("dpkg: error", "E:"))] or said[-1:]
    first = re.sub(r"//[^/@\s]*@", "//", errors[0])[:300] if errors else "it said nothing"
    if "No space left on device" in text:
        return StorageFull("no space to build a template", help="Free space where the backend keeps its state.")
    if re.search(r"(Failed to fetch|Could not (resolve|connect)|Temporary failure|Unable to connect|Release file)", text):
        return HostNotPrepared(
            f"no package mirror can be reached: {first}",
            help=f"Let this machine reach the mirrors of /etc/apt, and see `apt update`. {_ELSEWHERE}",
        )
    return HostNotPrepared(f"mmdebstrap failed: {first}", help=f"Look at the log of the backend. {_ELSEWHERE}")


def _make_durable(file: Path) -> None:
    """Its name must not outlive its content."""
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
    file.chmod(0o644)


def _disk_error(error: OSError, directory: Path) -> PvesmbError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull("no space to build a template", help="Free space where the backend keeps its state.")
    return HostNotPrepared(f"a template cannot be built in {directory}: {error.strerror}", help=_ELSEWHERE)
