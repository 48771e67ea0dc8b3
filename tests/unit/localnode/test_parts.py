"""Formats, uploads, tasks and state, each alone."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from services.localnode.api import formats
from services.localnode.api.permissions import Caller
from services.localnode.api.refusal import Refusal
from services.localnode.api.schema import Param, check
from services.localnode.multipart import read_form
from services.localnode.state import State, Token, secret_digest
from services.localnode.storages import Storage
from services.localnode.tasks import Say, Tasks, log_answer
from services.localnode.volumes import ImageVolumes


@pytest.mark.parametrize(("text", "size"), [("8G", 8 << 30), ("512M", 512 << 20), ("1024", 1024), ("1T", 1 << 40)])
def test_sizes(text: str, size: int) -> None:
    assert formats.parse_size(text) == size
    assert formats.parse_size(formats.render_size(size)) == size


def test_parameters_are_all_checked_before_any_is_refused() -> None:
    table = {"n": Param("integer", minimum=1), "b": Param("boolean"), "must": Param(required=True)}
    with pytest.raises(Refusal) as caught:
        check(table, {"n": "0", "b": "True!", "other": "1"})
    assert set(caught.value.errors) == {"n", "b", "other", "must"}
    assert check(table, {"n": "7", "b": "on", "must": ""}) == {"n": 7, "b": 1, "must": ""}


@pytest.mark.parametrize("content", [b"", b"x", b"--mar", b"\r\n--mar\r\n", bytes(range(256)) * 9000])
def test_an_upload_comes_out_as_it_went_in(tmp_path: Path, content: bytes) -> None:
    body = (
        b'--mark\r\nContent-Disposition: form-data; name="content"\r\n\r\niso\r\n'
        b'--mark\r\nContent-Disposition: form-data; name="filename"; filename="../a.iso"\r\n\r\n'
        + content
        + b"\r\n--mark--\r\n"
    )
    fields, upload = read_form(io.BufferedReader(io.BytesIO(body)), len(body), "mark", tmp_path)
    assert dict(fields) == {"content": "iso", "filename": "a.iso"}
    assert upload is not None and upload.read_bytes() == content


def test_a_body_that_ends_early_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="Bad Request"):
        read_form(io.BufferedReader(io.BytesIO(b"--m")), 100, "m", tmp_path)


@pytest.mark.parametrize("name", ["iso/../x", "iso/a/b", "iso/", "x", "102/vm-103-disk-0.raw", "iso/.."])
def test_a_volume_name_does_not_leave_its_storage(tmp_path: Path, name: str) -> None:
    with pytest.raises(Refusal, match="unable to parse directory volume name"):
        Storage("local", tmp_path, ["iso"], ImageVolumes()).file(f"local:{name}")


def test_a_task_that_the_process_did_not_end_has_no_good_end(tmp_path: Path) -> None:
    tasks = Tasks(tmp_path, "pve1")

    def work(say: Say) -> None:
        say("one")

    upid = tasks.start(Caller("root@pam", "t"), "vzcreate", "102", work)
    tasks.close()
    (file,) = tmp_path.glob("*.json")
    assert tasks.get(upid).exitstatus == "OK"
    assert log_answer(tasks.log_lines(tasks.get(upid)), 0, 50) == [{"n": 1, "t": "one"}, {"n": 2, "t": "TASK OK"}]
    file.write_text(json.dumps({**json.loads(file.read_text()), "exitstatus": "", "endtime": 0}))
    again = Tasks(tmp_path, "pve1")
    assert again.get(upid).status()["exitstatus"] == "unexpected status"
    again.close()


def test_state_comes_back_and_a_failed_change_does_not(tmp_path: Path) -> None:
    file = tmp_path / "state.json"
    state = State(file)
    with state.change() as facts:
        facts.tokens["root@pam!t"] = Token(secret_digest("very secret"))
    with pytest.raises(RuntimeError), state.change() as facts:
        facts.pools["p"] = ""
        raise RuntimeError
    with state.read() as facts:
        assert facts.pools == {}
    assert "very secret" not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    with State(file).read() as facts:
        assert list(facts.tokens) == ["root@pam!t"]
