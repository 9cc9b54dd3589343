"""Syslog sockets: datagrams, both framings of RFC 6587, TLS; bounds, and what arrives at the very end."""

import socket
import ssl
import subprocess
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from event.errors import ConfigError, InputError
from sensor import listen
from sensor.listen import Framing, SyslogListener, Tls, address_of
from sensor.live.beat import Beat


def message(number: int) -> bytes:
    return f"<34>1 2026-09-01T02:00:{number % 60:02}Z host app {number} - - m{number}".encode()


def counted(text: bytes) -> bytes:
    return b"%d %s" % (len(text), text)


class Listening:
    def __init__(self, address: str, **options) -> None:
        self.input = SyslogListener(address_of(address), **options)
        self.port = self.input.port
        self.beat = Beat()
        self.rows: list[dict] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        for table in self.input.tables(self.beat):
            self.rows += table.rows(named=True)

    def until(self, said) -> None:
        end = time.monotonic() + 30
        while not said():
            assert time.monotonic() < end, (self.rows, self.input.account)
            self.beat.number += 1
            time.sleep(0.02)

    def end(self) -> list[dict]:
        self.beat.stop.set()
        self.thread.join(30)
        assert not self.thread.is_alive()
        return self.rows


def test_datagrams_are_messages_with_the_address_they_came_from():
    run = Listening("udp:127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        for n in range(20):
            out.sendto(message(n) + b"\n", ("127.0.0.1", run.port))
        out.sendto(b"", ("127.0.0.1", run.port))
        out.sendto(b"no syslog at all", ("127.0.0.1", run.port))
    rows = run.end()  # at once: what has arrived is read all the same
    assert [r["message"] for r in rows if r["event.kind"] == "event"] == [f"m{n}" for n in range(20)]
    assert [r["event.original"] for r in rows if r["event.kind"] == "pipeline_error"] == ["no syslog at all"]
    assert {r["log.source.address"] for r in rows} == {"127.0.0.1"}
    assert {r["log.file.path"] for r in rows} == {run.input.name}
    assert len({r["event.id"] for r in rows}) == 21
    account = run.input.account
    assert (account.total, account.decoded, account.failed) == (21, 20, 1)
    assert account.notes["empty_messages"] == 1


def test_datagrams_over_ipv6():
    run = Listening("udp:[::1]:0")
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as out:
        out.sendto(message(1), ("::1", run.port))
    assert [r["log.source.address"] for r in run.end()] == ["::1"]


@pytest.mark.parametrize("wrap", [counted, lambda text: text + b"\n"], ids=["counted", "ended"])
def test_streams_in_small_pieces(wrap):
    run = Listening("tcp:127.0.0.1:0")
    data = b"".join(wrap(message(n)) for n in range(30))
    with socket.create_connection(("127.0.0.1", run.port)) as out:
        for at in range(0, len(data), 7):
            out.sendall(data[at : at + 7])
        run.until(lambda: len(run.rows) == 30)
    rows = run.end()
    assert [r["message"] for r in rows] == [f"m{n}" for n in range(30)]
    assert run.input.account.notes == {"connections": 1}


def test_what_a_stream_holds_at_its_end_is_a_message():
    run = Listening("tcp:127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", run.port)) as out:
        out.sendall(message(1) + b"\n" + message(2))
    with socket.create_connection(("127.0.0.1", run.port)) as out:
        out.sendall(counted(message(3)) + counted(message(4))[:-3])
    run.until(lambda: run.input.account.total == 4)
    rows = run.end()
    assert sorted(r["message"] for r in rows if r["message"]) == ["m1", "m2", "m3"]
    assert message(4).decode()[:-3] in [r["event.original"] for r in rows]
    assert run.input.account.notes["messages_cut"] == 1


def test_a_stream_that_is_still_open_when_the_sensor_stops_is_read():
    run = Listening("tcp:127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", run.port)) as out:
        run.until(lambda: run.input.account.notes.get("connections") == 1)
        out.sendall(message(1) + b"\n" + message(2))
        assert [r["message"] for r in run.end()] == ["m1", "m2"]


def test_connections_are_bounded(monkeypatch):
    monkeypatch.setattr(listen, "MOST_CONNECTIONS", 2)
    run = Listening("tcp:127.0.0.1:0")
    held = [socket.create_connection(("127.0.0.1", run.port)) for _ in range(4)]
    run.until(lambda: run.input.account.notes.get("connections_refused") == 2)
    for one in held:
        one.close()
    run.end()


def test_silent_connections_are_closed(monkeypatch):
    monkeypatch.setattr(listen, "IDLE_S", 0.2)
    run = Listening("tcp:127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", run.port)) as out:
        out.settimeout(30)
        run.until(lambda: run.input.account.notes.get("connections_silent") == 1)
        assert out.recv(1) == b""
    run.end()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", folder / "key.pem", "-out", folder / "cert.pem"),
        ],
        check=True,
        capture_output=True,
    )
    return folder


def test_tls(certificate):
    tls = Tls(certificate / "cert.pem", certificate / "key.pem")
    run = Listening("tls:127.0.0.1:0", tls=tls)
    context = ssl.create_default_context(cafile=certificate / "cert.pem")
    with (
        socket.create_connection(("127.0.0.1", run.port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as out,
    ):
        out.sendall(b"".join(counted(message(n)) for n in range(5_000)))
        run.until(lambda: run.input.account.total == 5_000)
    with socket.create_connection(("127.0.0.1", run.port)) as plain:
        plain.sendall(b"<34>1 in clear text\n")
        run.until(lambda: run.input.account.notes.get("tls_failed") == 1)
    assert len(run.end()) == 5_000


def test_tls_clients_without_a_certificate_are_refused(certificate):
    tls = Tls(certificate / "cert.pem", certificate / "key.pem", certificate / "cert.pem")
    run = Listening("tls:127.0.0.1:0", tls=tls)
    for name in (None, "cert.pem"):
        context = ssl.create_default_context(cafile=certificate / "cert.pem")
        if name is not None:
            context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
        with socket.create_connection(("127.0.0.1", run.port)) as plain:
            try:
                with context.wrap_socket(plain, server_hostname="localhost") as out:
                    out.sendall(counted(message(7)))
                    if name is not None:
                        run.until(lambda: run.input.account.total == 1)
            except OSError:
                assert name is None
    run.until(lambda: run.input.account.notes.get("tls_failed") == 1)
    assert [r["message"] for r in run.end()] == ["m7"]


def test_a_tls_listener_wants_a_certificate(tmp_path):
    with pytest.raises(ConfigError):
        SyslogListener(address_of("tls:127.0.0.1:0"))
    with pytest.raises(ConfigError):
        SyslogListener(address_of("tls:127.0.0.1:0"), tls=Tls(tmp_path / "no.pem", tmp_path / "no.key"))


def test_an_address_in_use_is_an_input_error():
    run = Listening("tcp:127.0.0.1:0")
    with pytest.raises(InputError) as caught:
        SyslogListener(address_of(f"tcp:127.0.0.1:{run.port}"))
    assert "cannot listen" in str(caught.value)
    run.end()


@pytest.mark.parametrize("text", ["", "udp", "udp:1.2.3.4", "http:1.2.3.4:80", "udp:::514", "tcp:h:99999", "tcp:h:-1"])
def test_addresses_that_are_none(text):
    with pytest.raises(ConfigError):
        address_of(text)


@pytest.mark.parametrize("text", ["udp:0.0.0.0:514", "tcp:[::]:601", "tls:log.example:6514"])
def test_addresses_as_they_are_written(text):
    assert str(address_of(text)) == text


def test_a_message_that_is_too_long_is_cut_and_what_follows_is_found():
    framing = Framing()
    long = b"<34>" + b"x" * (listen.MOST_MESSAGE + 5_000)
    data = counted(long) + counted(message(1))
    out = [m for at in range(0, len(data), 50_000) for m in framing.feed(data[at : at + 50_000])]
    assert out == [long[: listen.MOST_MESSAGE], message(1)]
    assert framing.cut == 1


def test_a_stream_without_ends_is_cut():
    framing = Framing()
    out = framing.feed(b"<34>" + b"x" * (3 * listen.MOST_MESSAGE))
    assert [len(m) for m in out] == [listen.MOST_MESSAGE] * 3
    assert framing.end() == [b"xxxx"]


def test_a_lost_count_ends_the_stream_with_all_bytes():
    framing = Framing()
    assert framing.feed(counted(message(1)) + b"garbage") == [message(1), b"garbage"]
    assert framing.broken


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=20), st.integers(1, 30), st.booleans())
def test_framing_gives_back_what_was_sent_however_it_is_cut(texts, step, by_count):
    texts = [b"<1>" + t.replace(b"\n", b"") for t in texts]
    data = b"".join(counted(t) if by_count else t + b"\n" for t in texts)
    framing = Framing()
    out = [m for at in range(0, len(data), step) for m in framing.feed(data[at : at + step])]
    assert out + framing.end() == texts
    assert not framing.broken


@given(st.binary(max_size=400), st.integers(1, 40))
def test_no_byte_of_any_stream_disappears(data, step):
    framing = Framing()
    out = []
    for at in range(0, len(data), step):
        if framing.broken:
            break
        out += framing.feed(data[at : at + step])
    out += framing.end()
    if not framing.broken and not framing.cut and not data[:1].isdigit():
        assert b"\n".join(out).rstrip(b"\n") == data.rstrip(b"\n")
