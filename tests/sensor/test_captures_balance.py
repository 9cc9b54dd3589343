"""Every shared capture is read to its end or its damage, and each of its frames is accounted for."""

from pathlib import Path

import pytest

from event.errors import InputError
from sensor.capture import capture_kind
from sensor.reader import open_input

FOLDER = Path(__file__).parents[3] / "shared" / "captures"


def _captures() -> list[Path]:
    found = []
    for path in sorted(FOLDER.rglob("*")):
        if path.is_file() and "expected" not in path.parts:
            with path.open("rb") as file:
                if capture_kind(file.read(12)) is not None:
                    found.append(path)
    return found


@pytest.mark.skipif(not FOLDER.is_dir(), reason="the shared captures are not here")
def test_every_capture_is_read_without_a_crash_and_its_frames_add_up() -> None:
    captures = _captures()
    assert len(captures) >= 400
    for path in captures:
        opened = open_input(path)
        ids: list[str] = []
        damaged = False
        try:
            for table in opened.tables():
                ids += table["event.id"].to_list()
        except InputError:
            damaged = True
        account = opened.account
        assert account.total == account.decoded + account.undecoded + account.failed, path
        assert damaged == (account.error is not None), path
        assert "kernel_index_error" not in account.notes, path
        assert len(ids) == len(set(ids)), path
