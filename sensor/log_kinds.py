"""What a log is, by its first lines."""

from __future__ import annotations

import re

_SYSLOG = re.compile(
    rb"""^(?:
        (?:\d{1,8}\ )?<\d{1,3}>                            # <34>Oct 11 22:14:15, or with octets counted (RFC 6587)
      | [A-Z][a-z]{2}\ [\ \d]\d\ \d\d:\d\d:\d\d\           # Oct 11 22:14:15 host, as files of RFC 3164 have it
      | \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S*\ \S+\ \S         # 2026-10-11T22:14:15.003Z host app, as rsyslog writes
    )""",
    re.VERBOSE,
)
_AUDITD = re.compile(rb"^(?:node=\S{1,255} )?type=[A-Z0-9_\[\]]{1,64} msg=audit\(\d{1,12}\.\d{1,9}:\d{1,20}\):")
_WEB = re.compile(
    rb'^\S{1,512} \S{1,512} (?:\S{1,512} )?(?:[^\[\]"]{1,256} )?'
    rb'\[\d\d?/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "'
)
_SQUID = re.compile(rb"^\s{0,9}\d{9,11}\.\d{3}\s+\d{1,12} \S{1,64} [A-Z_]{3,64}/\d{3} \d{1,18} [A-Z_]{1,32} \S")
_W3C = (b"#Software: Microsoft Internet Information", b"#Fields: date time ", b"#Fields: time ")

_WINDOWS = (
    (b'"winlog"', b'"channel"'),
    (b'"winlog.channel"',),
    (b'"event_data"', b'"log_name"'),
    (b'"EventID"', b'"Channel"'),
    (b'"EventID"', b'"System"'),
    (b'"EventID"', b'"SourceName"'),
    (b'"EventID"', b'"Provider_Name"'),
)
"""Members of which all stand in a line, in lists of which one is enough."""

APPLICATIONS: tuple[tuple[str, str, tuple[bytes, ...]], ...] = (
    ("aws", "cloudtrail", (b'"eventSource"', b'"eventName"', b'"awsRegion"')),
    ("kubernetes", "audit", (b'"audit.k8s.io/',)),
    ("okta", "okta", (b'"eventType"', b'"legacyEventType"')),
    ("okta", "okta", (b'"eventType"', b'"displayMessage"', b'"debugContext"')),
    ("github", "audit", (b'"action"', b'"actor"', b'"_document_id"')),
    ("github", "audit", (b'"action"', b'"actor"', b'"org"', b'"created_at"')),
    ("bitbucket", "audit", (b'"auditType"',)),
    ("opencanary", "application", (b'"logtype"', b'"node_id"')),
    ("gcp", "gcp.audit", (b'"protoPayload"', b"google.cloud.audit.AuditLog")),
    ("m365", "audit", (b'"Operation"', b'"Workload"', b'"RecordType"')),
    ("onelogin", "onelogin.events", (b'"event_type_id"', b'"account_id"')),
    ("azure", "riskdetection", (b'"riskEventType"',)),
    ("azure", "signinlogs", (b'"SignInLogs"',)),
    ("azure", "auditlogs", (b'"AuditLogs"',)),
    ("azure", "activitylogs", (b'"operationName"', b'"resourceId"', b'"category"')),
    ("cisco", "duo", (b'"event_type"', b'"auth_device"')),
)
"""Product, service, and members that stand in each of its records; the first that fits counts."""


def application(line: bytes) -> tuple[str, str] | None:
    """Product and service of an application's record."""
    for product, service, members in APPLICATIONS:
        if all(one in line for one in members):
            return product, service
    return None


def log_kind(head: bytes) -> str | None:
    """Kind of a log by its first lines; None if it is none that is known."""
    lines = [line for line in head[: 1 << 16].removeprefix(b"\xef\xbb\xbf").splitlines() if line.strip()][:20]
    for line in lines:
        if line.startswith((b"#separator", b"#fields", b"#path")):
            return "zeek"
        if line.startswith(_W3C):
            return "web"
        if line.lstrip().startswith(b"{"):
            kind = _json_kind(line)
            if kind is not None:
                return kind
        elif _AUDITD.match(line):
            return "auditd"
        elif _WEB.match(line) or _SQUID.match(line):
            return "web"
        elif _SYSLOG.match(line):
            return "syslog"
    return None


def _json_kind(line: bytes) -> str | None:
    if any(all(member in line for member in members) for members in _WINDOWS):
        return "windows"
    product = application(line)
    if b'"event_type"' in line and product is None:
        return "suricata"
    if b'"_path"' in line or (b'"ts"' in line and (b'"uid"' in line or b'"id.orig_h"' in line)):
        return "zeek"
    return "app" if product is not None else None
