"""What the chapters of a risk report share while it is written."""

from __future__ import annotations

from report import assess
from report.facts import Case
from report.parts import Numbers


class Draft:
    """The case, its wording, the running numbers, and the assessments that several chapters quote."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.w = case.w
        self.number = Numbers(case.w)
        self.risks = assess.risks(case)
        self.clues = assess.clues(case)
