"""Access and error logs of web servers and proxies."""

from __future__ import annotations

from datetime import UTC, datetime

from sensor.parsers.web import WebParser
from tests.sensor.parsers.rows import has, rows_of


def test_common_and_combined_lines() -> None:
    one, two, three = rows_of(
        WebParser(),
        '10.0.0.1 - frank smith [10/Oct/2000:13:55:36 -0700] "GET /a/b.PHP?x=1&y=\'-- HTTP/1.0" 200 2326',
        "www.x.cn:443 2001:db8::1 - - [10/Oct/2000:13:55:36 +0800] "
        '"POST /a HTTP/1.1" 404 - "http://r/" "M \\"x\\"" 0.01',
        'host.x - - [10/Oct/2000:13:55:36 +0800] "\\x16\\x03" 400 150 "-" "-"',
    )
    has(
        one,
        {
            "event.dataset": "web",
            "@timestamp": datetime(2000, 10, 10, 20, 55, 36, tzinfo=UTC),
            "source.ip": "10.0.0.1",
            "user.name": "frank smith",
            "http.request.method": "GET",
            "http.version": "1.0",
            "url.original": "/a/b.PHP?x=1&y='--",
            "url.path": "/a/b.PHP",
            "url.query": "x=1&y='--",
            "url.extension": "PHP",
            "http.response.status_code": 200,
            "http.response.body.bytes": 2326,
            "event.outcome": "success",
        },
    )
    has(two, {"source.ip": "2001:db8::1", "url.domain": "www.x.cn", "http.request.referrer": "http://r/"})
    has(two, {"user_agent.original": 'M \\"x\\"', "event.outcome": "failure"})
    assert "http.response.body.bytes" not in two
    has(three, {"url.original": "\\x16\\x03", "http.response.status_code": 400})
    assert not {"source.ip", "user_agent.original", "http.request.method"} & set(three)


def test_the_extended_format_follows_its_header() -> None:
    parser = WebParser()
    head = "#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port c-ip cs(User-Agent) sc-status time-taken"
    [row] = rows_of(
        parser, "#Software: x", head, "2026-01-02 03:04:05 10.0.0.1 GET /x.aspx a=1 80 10.0.0.9 M/5+(X) 500 15"
    )
    has(
        row,
        {
            "@timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "destination.ip": "10.0.0.1",
            "destination.port": 80,
            "source.ip": "10.0.0.9",
            "url.original": "/x.aspx?a=1",
            "url.extension": "aspx",
            "user_agent.original": "M/5 (X)",
            "http.response.status_code": 500,
            "event.duration": 15_000_000,
            "web.server": "iis",
        },
    )
    [later, bad] = rows_of(parser, "2026-01-02 03:04:06 10.0.0.1 GET /y - 80 10.0.0.9 - 200 1", "a b", offset=900)
    has(later, {"url.original": "/y"})
    has(bad, {"error.code": "wrong_column_count", "event.kind": "pipeline_error"})


def test_squid_is_a_proxy() -> None:
    [row] = rows_of(
        WebParser(),
        "1286536308.779    180 192.168.0.224 TCP_MISS/200 411 GET http://u@h.x:80/a.exe?b=1 - "
        "DIRECT/125.23.240.129 text/plain",
    )
    has(row, {"event.dataset": "proxy", "url.domain": "h.x", "url.path": "/a.exe", "url.extension": "exe"})
    has(row, {"web.result": "TCP_MISS", "event.duration": 180_000_000, "destination.ip": "125.23.240.129"})


def test_error_logs() -> None:
    nginx, apache = rows_of(
        WebParser(),
        "2026/10/11 12:00:00 [crit] 12#12: *1 open() failed, client: 10.1.1.1, server: x",
        "[Sun Oct  4 12:00:00.123456 2026] [core:notice] [pid 35708:tid 1] [client 72.15.99.187:1234] exit signal",
    )
    has(nginx, {"log.level": "crit", "process.pid": 12, "source.ip": "10.1.1.1", "web.server": "nginx"})
    has(apache, {"log.level": "notice", "message": "exit signal", "source.ip": "72.15.99.187"})
    assert apache["@timestamp"] == datetime(2026, 10, 4, 12, 0, 0, 123456, tzinfo=UTC)


def test_what_is_wrong_is_said() -> None:
    rows = rows_of(WebParser(), "garbage", '10.0.0.1 - - [99/Oct/2000:13:55:36 +0800] "GET / HTTP/1.0" 200 1')
    assert [row["error.code"] for row in rows] == ["not_a_web_log", "bad_time"]
