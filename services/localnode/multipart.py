"""Uploads: a multipart form from a socket, with the file kept on disk and never in memory as a whole."""

from __future__ import annotations

import itertools
import mmap
from email.parser import BytesHeaderParser
from io import BufferedIOBase
from pathlib import Path

from services.localnode.api.refusal import bad_request

_CHUNK = 1 << 20


def read_form(
    source: BufferedIOBase, length: int, boundary: str, scratch: Path
) -> tuple[list[tuple[str, str]], Path | None]:
    """The plain fields, with the file's name as `filename`; and the file's content in the scratch directory."""
    if not boundary:
        raise bad_request()
    raw = scratch / "body"
    with raw.open("wb") as f:
        left = length
        while left:
            chunk = source.read(min(left, _CHUNK))
            if not chunk:
                raise bad_request()
            f.write(chunk)
            left -= len(chunk)
    fields: list[tuple[str, str]] = []
    upload: Path | None = None
    with raw.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as body:
        for start, end in _parts(body, b"--" + boundary.encode()):
            gap = body.find(b"\r\n\r\n", start, end)
            if gap < 0:
                raise bad_request()
            headers = BytesHeaderParser().parsebytes(body[start:gap])
            name = headers.get_param("name", header="Content-Disposition")
            filename = headers.get_filename()
            if filename is not None:
                fields.append(("filename", Path(filename).name))
                upload = _copy(body, gap + 4, end, scratch / "upload")
            else:
                fields.append((str(name), body[gap + 4 : end].decode("utf-8", "replace")))
    return fields, upload


def _parts(body: mmap.mmap, mark: bytes) -> list[tuple[int, int]]:
    """Start and end of each part between two boundaries, without the line ends around it."""
    marks = []
    at = body.find(mark)
    while at >= 0:
        marks.append(at)
        at = body.find(b"\r\n" + mark, at + len(mark))
        at = at + 2 if at >= 0 else at
    return [(here + len(mark) + 2, there - 2) for here, there in itertools.pairwise(marks)]


def _copy(body: mmap.mmap, start: int, end: int, target: Path) -> Path:
    with target.open("wb") as f:
        for at in range(start, end, _CHUNK):
            f.write(body[at : min(at + _CHUNK, end)])
    return target
