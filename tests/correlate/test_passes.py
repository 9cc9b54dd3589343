"""Compiled passes on disk: the same hits with and without, and nothing that others could have written is loaded."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from correlate import cache
from correlate.match import Plan

pytest.importorskip("hyperscan")

CONDITIONS = [
    [
        "and",
        [["atom", "event.code", "eq", str(number % 3)], ["atom", "process.command_line", "contains", f"tool{number}"]],
    ]
    for number in range(450)
] + [["atom", "process.command_line", "re", [f"x{number}$", "i"]] for number in range(9)]
EVENTS = pl.DataFrame(
    {
        "event.code": ["1", "2", "0", "1"],
        "process.command_line": ["run TOOL1 now", "tool2", "tool1", "\u212a endX3"],
        "event.dataset": ["d"] * 4,
    }
)


def hits(kept_in: Path | None) -> dict[int, list[int]]:
    plan = Plan(CONDITIONS, constants={"event.dataset": "d"}, kept_in=kept_in)
    return {rule: rows.tolist() for rule, rows in plan.match(EVENTS).items()}


def test_kept_passes_give_the_same_hits(tmp_path: Path) -> None:
    folder = tmp_path / "kept"
    expected = hits(None)
    assert expected == {1: [0], 2: [1], 453: [3]}
    assert hits(folder) == expected
    (file,) = folder.glob("passes-*.bin")
    before = file.stat().st_mtime_ns
    assert hits(folder) == expected
    assert file.stat().st_mtime_ns == before
    assert file.stat().st_mode & 0o077 == 0 and folder.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "writable", "folder", "link"])
def test_what_cannot_be_trusted_is_not_read(tmp_path: Path, spoil: str) -> None:
    folder = tmp_path / "kept"
    expected = hits(folder)
    (file,) = folder.glob("passes-*.bin")
    key = file.stem.removeprefix("passes-")
    assert cache.read_passes(folder, key)
    data = file.read_bytes()
    if spoil == "cut":
        file.write_bytes(data[:-1])
    elif spoil == "flip":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif spoil == "empty":
        file.write_bytes(b"")
    elif spoil == "writable":
        file.chmod(0o666)
    elif spoil == "folder":
        folder.chmod(0o777)
    else:
        file.rename(tmp_path / "elsewhere")
        file.symlink_to(tmp_path / "elsewhere")
    assert cache.read_passes(folder, key) is None
    assert hits(folder) == expected
