"""Runs one suite of smbtorture(1) and reads its verdicts."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.words import Server, password

#: Who runs the suites, and who else takes part in some.
USER, OTHER_USER = "torture", "other"
#: A share that suites of two shares want besides, and two that suites look for by name.
SECOND_SHARE, HIDEUNREAD_SHARE, NOPERM_SHARE = "second", "hideunread", "noperm"

_UNKNOWN = "Unknown torture operation"
#: smbtorture(1) `--format=subunit`: a line `test: NAME`, later one that begins with the verdict; `error` is a failure of
#: the test's own making. What is not a success is followed by ` [` and its reason.
_LINE = re.compile(r"^(test|success|failure|error|skip): (.+?)(?: \[)?$", re.MULTILINE)
#: Of timeout(1).
_TIMED_OUT = 124

_CONF = """\
[global]
  torture:progress = no
  torture:sharedelay = 100000
  torture:writetimeupdatedelay = 500000
  torture:share2 = {second}
  torture:user2 = {other}%{secret}
  torture:user2name = {other}
  torture:user2password = {secret}
"""


@dataclass(frozen=True)
class Outcome:
    """What became of a suite. `verdicts` has `success`, `failure` or `skip` for each subtest; one that began and came to
    no end has the verdict `none`."""

    suite: str
    verdicts: Mapping[str, str]
    status: int = 0
    unknown: bool = False
    text: str = ""

    @property
    def timed_out(self) -> bool:
        return self.status == _TIMED_OUT


def run(suite: str, server: Server, share: str, directory: Path, seconds: float) -> Outcome:
    """Runs it on the share as USER, at most so long. smbtorture leaves directories where it runs. Passwords are in files:
    on its command line or in its environment everybody could read them."""
    conf, login, place = directory / "smb.conf", directory / "login", directory / "place"
    for file in (conf, login):
        file.touch(mode=0o600)
    conf.write_text(_CONF.format(second=SECOND_SHARE, other=OTHER_USER, secret=password(OTHER_USER)))
    login.write_text(f"username={USER}\npassword={password(USER)}\n")
    place.mkdir()
    address, port = server.endpoint
    options = ["--configfile", str(conf), "--authentication-file", str(login), "--smb-ports", str(port)]
    argv = ["timeout", f"{seconds:g}", "smbtorture", *options, "--target=samba3", "--format=subunit"]
    done = subprocess.run(
        [*argv, f"//{address}/{share}", suite],
        cwd=place,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return read(suite, done.stdout.decode("utf-8", "replace"), done.returncode)


def read(suite: str, text: str, status: int) -> Outcome:
    """The outcome from what smbtorture has said. Of two verdicts on one name, the worse counts."""
    verdicts: dict[str, str] = {}
    for word, name in _LINE.findall(text):
        verdict = {"test": "none", "error": "failure"}.get(word, word)
        if verdicts.get(name, "none") in ("none", "success"):
            verdicts[name] = verdict
    return Outcome(suite, verdicts, status, _UNKNOWN in text, text)
