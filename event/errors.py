"""Errors that a user can cause.

    UserError            exit 2   usage or configuration
      ConfigError        exit 2   site file, settings
      InputError         exit 3   a capture or log that cannot be read
      RuleError          exit 4   Sigma rules
      PlaybookError      exit 4   CACAO playbooks
      StoreError         exit 5   the event store
      ReportError        exit 2   profiles, formats, documents

Rooms raise; only ``cli/errors.py`` prints and exits.
"""

from __future__ import annotations


class UserError(Exception):
    """What went wrong, where, and what the user can do now.

    Args:
        what: One sentence without a full stop.
        where: File, line or address, as the user would type it.
        hint: What to do now: a command or the values allowed.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = self.what if self.where is None else f"{self.what} ({self.where})"
        return text if self.hint is None else f"{text}\n  {self.hint}"


class ConfigError(UserError):
    """The site file or a setting is wrong."""


class InputError(UserError):
    """An input cannot be read, or not to its end."""

    exit_code = 3


class RuleError(UserError):
    """A Sigma rule is invalid."""

    exit_code = 4


class PlaybookError(UserError):
    """A playbook is invalid."""

    exit_code = 4


class StoreError(UserError):
    """The store cannot be opened, read or written."""

    exit_code = 5


class ReportError(UserError):
    """A report cannot be built or rendered."""
