"""Which reports ``analyze`` writes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import report
from cli import report_commands
from event.site import Site

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def incident(number: int, level: str, status: str = "new") -> Any:
    return SimpleNamespace(
        id=f"INC-{number}",
        level=level,
        status=status,
        grade_cac=None,
        grade_gbt20986=None,
        alert_total=1,
        first_seen=NOW,
    )


@pytest.mark.parametrize(("most", "written", "said"), [(2, [3, 2], "1 more"), (3, [3, 2, 1], "")])
def test_the_gravest_incidents_have_first_reports_and_the_others_are_counted(
    most: int, written: list[int], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JIANMEN_LANG", "en")
    monkeypatch.setattr(report_commands, "MOST_FIRST", most)
    monkeypatch.setattr(report, "build", lambda *args: None)
    monkeypatch.setattr(report_commands, "write", lambda document, folder, stem: [Path(stem)])
    some = [incident(1, "low"), incident(2, "high"), incident(3, "critical"), incident(4, "critical", "closed")]
    files = report_commands.write_reports(Path(), some, None, Site(), ["en"], NOW)
    assert files == [Path("risk-report"), *(Path(f"first-report-INC-{n}") for n in written)]
    told = capsys.readouterr().err
    assert said in told if said else told == ""
