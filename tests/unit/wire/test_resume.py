"""How a starting service goes on with the file servers that it finds."""

from __future__ import annotations

from services.core.steps import Work
from services.wire.backend import resume_all
from tests.unit.native import builders


def test_one_that_cannot_be_resumed_does_not_hinder_the_next() -> None:
    works = [builders.work(builders.server(id), whole=True) for id in ("one", "two")]
    resumed: list[str] = []

    def resume(work: Work) -> None:
        resumed.append(work.server.name.file_server)
        if work is works[0]:
            raise OSError(5, "Input/output error")

    resume_all(resume, works)
    assert resumed == ["one", "two"]
