"""What goes wrong between a forwarder and a node, on loopback: slow and half-open wires, and nodes that are too busy.

``Wire`` moves bytes and knows nothing of HTTP; ``Front`` answers some requests, or some items of a bulk, with 429.
"""

from __future__ import annotations

import gzip
import http.client
import json
import random
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


class Wire:
    """Listens on loopback and moves bytes to one address.

    Attributes:
        url: Where to connect.
        pause: Seconds to wait after each kilobyte, in both directions.
        hole_after: Bytes from the client after which the next connection hangs: it stays open, nothing moves, nothing
            is answered. Counted down by one connection; None for never.
        cut_after: The same, but the connection is reset.
        deaf: New connections are taken, and nothing is read from them.
        at: Bytes from all clients together, and what to do once when so many have come.
        connections: How many there were.
        faults: How many hung or were cut.
    """

    def __init__(self, upstream: str) -> None:
        there = urlsplit(upstream)
        self._to = (str(there.hostname), int(there.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.pause = 0.0
        self.hole_after: int | None = None
        self.cut_after: int | None = None
        self.deaf = False
        self.at: tuple[int, Callable[[], None]] | None = None
        self.connections = 0
        self.faults = 0
        self.passed = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            if not select.select([self._listener], [], [], 0.05)[0]:
                continue
            with suppress(OSError):
                client = self._listener.accept()[0]
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(client,))
                self._threads.append(thread)
                thread.start()

    def _serve(self, client: socket.socket) -> None:
        self._open.append(client)
        if self.deaf:
            self._stop.wait()
            return
        try:
            node = socket.create_connection(self._to, timeout=5)
        except OSError:
            client.close()
            return
        self._open.append(node)
        sent = 0
        with client, node:
            while not self._stop.is_set():
                try:
                    ready = select.select([client, node], [], [], 0.05)[0]
                    for source in ready:
                        part = source.recv(1_024 if self.pause else 65_536)
                        if not part:
                            return
                        if source is client:
                            sent += len(part)
                            self._reach(len(part))
                            if self._fault(sent, client):
                                return
                        (node if source is client else client).sendall(part)
                        if self.pause:
                            self._stop.wait(self.pause)
                except OSError:
                    return

    def _reach(self, more: int) -> None:
        with self._lock:
            self.passed += more
            due, self.at = (self.at, None) if self.at and self.passed >= self.at[0] else (None, self.at)
        if due:
            due[1]()

    def _fault(self, sent: int, client: socket.socket) -> bool:
        with self._lock:
            hole = self.hole_after is not None and sent >= self.hole_after
            cut = self.cut_after is not None and sent >= self.cut_after
            if hole:
                self.hole_after = None
            elif cut:
                self.cut_after = None
            else:
                return False
            self.faults += 1
        if hole:
            self._stop.wait()  # until the test is over: the client has to find out by itself
        else:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        return True

    def close(self) -> None:
        """End all connections."""
        self._stop.set()
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.close()
        for thread in self._threads:
            thread.join(30)

    def __enter__(self) -> Wire:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Front:
    """An HTTP front of a node that is too busy for some of what comes.

    Attributes:
        url: Where to connect.
        busy_requests: Share of bulk requests that are answered with 429 and not passed on.
        busy_items: Share of the documents of a bulk that are answered with 429 and not passed on.
        refused_requests: How many.
        refused_items: How many.
        retry_after: Seconds for the header ``Retry-After`` of a refused request.
    """

    def __init__(self, upstream: str, seed: int = 1) -> None:
        there = urlsplit(upstream)
        self._to = (str(there.hostname), int(there.port or 80))
        self.busy_requests = self.busy_items = 0.0
        self.refused_requests = self.refused_items = 0
        self.retry_after: str | None = None
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        front = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def log_message(self, *_: Any) -> None:
                pass

            def answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
                self.send_response_only(status)
                for name, value in headers:
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "content-encoding"):
                        self.send_header(name, value)
                if self.command != "HEAD":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body if self.command != "HEAD" else b"")

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                    del self.headers["Content-Encoding"]
                self.answer(*front._request(self.command, self.path, self.headers, body))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def _request(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        bulk = "/_bulk" in path
        if bulk and self._roll(self.busy_requests):
            with self._lock:
                self.refused_requests += 1
            error = {"error": {"type": "es_rejected_execution_exception", "reason": "too busy"}, "status": 429}
            more = [("Retry-After", self.retry_after)] if self.retry_after else []
            return 429, [("Content-Type", "application/json"), *more], json.dumps(error).encode()
        refused: dict[int, dict[str, Any]] = {}
        if bulk and self.busy_items:
            body, refused = self._thin(path, body)
        if refused and not body:
            answered: dict[str, Any] = {"errors": True, "items": []}
            kind = [("Content-Type", "application/json"), ("X-elastic-product", "Elasticsearch")]
            return 200, kind, self._put_in(answered, refused)
        connection = http.client.HTTPConnection(*self._to, timeout=60)
        try:
            kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "content-length", "accept-encoding")}
            connection.request(method, path, body=body or None, headers=kept)
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if refused and answer.status == 200:
            text = self._put_in(json.loads(text), refused)
        return answer.status, answer.getheaders(), text

    def _roll(self, share: float) -> bool:
        with self._lock:
            return self._chance.random() < share

    def _thin(self, path: str, body: bytes) -> tuple[bytes, dict[int, dict[str, Any]]]:
        """Take documents out of a bulk body; the rest, and the answers for those by their place."""
        lines = body.split(b"\n")
        kept: list[bytes] = []
        refused: dict[int, dict[str, Any]] = {}
        for place, at in enumerate(range(0, len(lines) - 1, 2)):
            if self._roll(self.busy_items):
                ((action, head),) = json.loads(lines[at]).items()
                refused[place] = {
                    action: {
                        "_index": head.get("_index", path.split("/")[1]),
                        "_id": head["_id"],
                        "status": 429,
                        "error": {"type": "es_rejected_execution_exception", "reason": "too busy"},
                    }
                }
            else:
                kept += lines[at : at + 2]
        with self._lock:
            self.refused_items += len(refused)
        return b"".join(line + b"\n" for line in kept), refused

    @staticmethod
    def _put_in(answer: dict[str, Any], refused: dict[int, dict[str, Any]]) -> bytes:
        items = answer.get("items", [])
        for place in sorted(refused):
            items.insert(place, refused[place])
        return json.dumps({**answer, "errors": True, "items": items}).encode()

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)

    def __enter__(self) -> Front:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
