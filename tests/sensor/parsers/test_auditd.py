"""The Linux audit log: records of one event know each other."""

from __future__ import annotations

from datetime import UTC, datetime

from sensor.parsers.auditd import MOST_EVENTS, AuditdParser
from tests.sensor.parsers.rows import has, rows_of

SYSCALL = (
    "type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e syscall=59 success=yes exit=0 a0=7ff a1=2f62 "
    'ppid=2686 pid=3538 auid=1000 uid=0 euid=0 tty=pts0 ses=1 comm="cat" exe="/bin/cat" key="k1"'
)
EXECVE = 'type=EXECVE msg=audit(1364481363.243:24287): argc=3 a0="cat" a1=2F6574632F706173737764 a2="x y"'
CWD = 'type=CWD msg=audit(1364481363.243:24287):  cwd="/home/u"'
PATH = 'type=PATH msg=audit(1364481363.243:24287): item=0 name="./ssh/config" inode=4 nametype=CREATE'


def test_records_of_one_event_share_who_and_what() -> None:
    syscall, execve, _, path = rows_of(AuditdParser(), SYSCALL, EXECVE, CWD, PATH)
    has(
        syscall,
        {
            "event.dataset": "auditd",
            "@timestamp": datetime(2013, 3, 28, 14, 36, 3, 243000, tzinfo=UTC),
            "auditd.type": "SYSCALL",
            "auditd.sequence": 24287,
            "auditd.data.SYSCALL": "execve",  # RAW has the number only
            "auditd.data.a1": "2f62",  # an argument of a system call is a number, not text in hexadecimal
            "process.executable": "/bin/cat",
            "process.pid": 3538,
            "process.parent.pid": 2686,
            "user.id": "1000",
            "user.effective.id": "0",
            "event.outcome": "success",
        },
    )
    has(execve, {"auditd.data.a1": "/etc/passwd", "process.command_line": "cat /etc/passwd x y"})
    has(execve, {"process.executable": "/bin/cat", "auditd.data.key": "k1", "auditd.data.auid": "1000"})
    has(path, {"file.path": "/home/u/ssh/config", "auditd.data.nametype": "CREATE", "auditd.data.SYSCALL": "execve"})


def test_an_event_goes_on_in_the_next_block() -> None:
    parser = AuditdParser()
    rows_of(parser, SYSCALL)
    [execve] = rows_of(parser, EXECVE, offset=500)
    has(execve, {"process.executable": "/bin/cat"})
    [alone] = rows_of(parser, EXECVE)  # offset 0: another input
    assert "process.executable" not in alone


def test_events_that_are_remembered_are_bounded() -> None:
    parser = AuditdParser()
    rows_of(parser, *(SYSCALL.replace("24287", str(number)) for number in range(MOST_EVENTS + 9)))
    assert len(parser.events) == MOST_EVENTS


def test_enriched_records_keep_both_spellings() -> None:
    [row] = rows_of(AuditdParser(), SYSCALL + '\x1dARCH=x86_64 SYSCALL=execve AUID="op" UID="root"')
    has(row, {"auditd.data.auid": "1000", "auditd.data.AUID": "op", "user.name": "op"})


def test_addresses_and_messages_are_taken_apart() -> None:
    rows = rows_of(
        AuditdParser(),
        "type=SOCKADDR msg=audit(1.5:1): saddr=020001BBC0A801010000000000000000",
        "type=SOCKADDR msg=audit(1.5:2): saddr=0A0001BB0000000000000000000000000000000000000001000000",
        "type=SOCKADDR msg=audit(1.5:3): saddr=0100",
        "node=gw1 type=USER_LOGIN msg=audit(1.5:4): pid=1 auid=4294967295 uid=0 "
        'msg=\'op=login acct="root" exe="/usr/sbin/sshd" addr=10.1.1.1 res=failed\'',
    )
    has(rows[0], {"destination.ip": "192.168.1.1", "destination.port": 443})
    has(rows[1], {"destination.ip": "::1", "destination.port": 443})
    assert "destination.ip" not in rows[2]
    has(rows[3], {"source.ip": "10.1.1.1", "user.name": "root", "event.outcome": "failure", "host.name": "gw1"})
    has(rows[3], {"auditd.data.exe": "/usr/sbin/sshd", "user.id": "0"})


def test_what_is_wrong_is_said() -> None:
    rows = rows_of(AuditdParser(), SYSCALL, "garbage", "----", "type=X msg=audit(999999999999.0:1): a=b")
    assert [row.get("error.code") for row in rows] == [None, "not_auditd", "bad_time"]
