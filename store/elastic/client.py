"""The only module that knows the official client: bytes out, bytes in, and what went wrong in words.

Bodies are built by Polars and answers are read by it, so the client's own serialisers are replaced by ones that let
bytes through. What remains of it: connections, nodes that are tried in turn, TLS, accounts, and the media types by
which an 8.19 client speaks to 9.x.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

import elastic_transport
import elasticsearch
import orjson

from event.errors import StoreError

JSON = "application/json"
NDJSON = "application/x-ndjson"
_KINDS = (JSON, NDJSON, "application/vnd.elasticsearch+json", "application/vnd.elasticsearch+x-ndjson")
REQUEST_SECONDS = 120.0
"""How long one request may take; a node that hangs holds a connection no longer."""
FIRST_REST = 5.0
LONGEST_REST = 600.0
"""Seconds for which a node that failed is left alone while others answer, doubled each time. One that hangs costs
whoever asks it ``REQUEST_SECONDS``, and all connections ask it before the first of them knows."""


class _Bytes(elastic_transport.Serializer):
    """Lets bytes through."""

    mimetype: ClassVar[str] = JSON

    def dumps(self, data: Any) -> bytes:
        return data if isinstance(data, bytes) else orjson.dumps(data)

    def loads(self, data: bytes) -> Any:
        return bytes(data)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a node said.

    Attributes:
        status: HTTP status.
        body: As it came.
    """

    status: int
    body: bytes

    def json(self) -> Any:
        """The decoded body; None if there is none.

        Raises:
            StoreError: It is not JSON.
        """
        try:
            return orjson.loads(self.body) if self.body else None
        except orjson.JSONDecodeError as error:
            raise StoreError(f"the cluster's answer is not JSON: {error}") from error

    def reason(self) -> str:
        """Why a request failed, as the node says."""
        try:
            said = orjson.loads(self.body)["error"]
            causes = said.get("root_cause") or [said]
            return f"{causes[0].get('type')}: {causes[0].get('reason')}"[:500]
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, IndexError):
            return f"HTTP {self.status}"


class Unreachable(StoreError):
    """No node answered: another try later may do."""


class Client:
    """Connections to a cluster. Safe for several threads."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        user: tuple[str, str] | None = None,
        api_key: str | None = None,
        ca: Path | None = None,
        connections: int = 4,
        seconds: float = REQUEST_SECONDS,
    ) -> None:
        """Prepare the connections; none is opened yet.

        Raises:
            StoreError: An address is not one, or the CA file cannot be read.
        """
        if not urls:
            raise StoreError("no address of an Elasticsearch node is given")
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise StoreError(
                    "not the address of an Elasticsearch node",
                    where=shown(url),
                    hint="such as https://es1.example:9200",
                )
            if parts.username or parts.password:
                raise StoreError(
                    "credentials do not belong into an address",
                    where=shown(url),
                    hint="name a file with the API key or the password in [store] of jianmen.toml",
                )
        self.where = ", ".join(shown(url) for url in urls)
        self.seconds = seconds
        more: dict[str, Any] = {}
        if user is not None:
            more["basic_auth"] = user
        if api_key is not None:
            more["api_key"] = api_key
        if ca is not None:
            clear = next((url for url in urls if not url.startswith("https:")), None)
            if clear is not None:
                raise StoreError(
                    "a CA file is named, and the address asks for no TLS",
                    where=shown(clear),
                    hint=f"https:{clear.partition(':')[2]}",
                )
            try:
                more["ssl_context"] = ssl.create_default_context(cafile=str(ca))
            except (OSError, ssl.SSLError) as error:
                raise StoreError(f"the CA file cannot be read: {error}", where=str(ca)) from error
        raw = _Bytes()
        self._client = elasticsearch.Elasticsearch(
            [_complete(url) for url in urls],
            serializers=dict.fromkeys(_KINDS, raw),
            connections_per_node=connections,
            request_timeout=seconds,
            max_retries=max(1, len(urls) - 1),
            retry_on_status=(),
            # A node that hangs must not hold up what another one can do. What is sent again is harmless: events have
            # ids, incidents a number that has to fit.
            retry_on_timeout=len(urls) > 1,
            dead_node_backoff_factor=FIRST_REST,
            max_dead_node_backoff=LONGEST_REST,
            **more,
        )

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | dict[str, Any] | None = None,
        *,
        params: dict[str, Any] | None = None,
        good: Sequence[int] = (),
        kind: str = JSON,
    ) -> Answer:
        """Send a request.

        Args:
            method: HTTP method.
            path: Path without parameters; parts that may hold anything are quoted by the caller (``part``).
            body: JSON as bytes or as an object.
            params: Parameters of the query.
            good: Statuses from 400 on that the caller understands.
            kind: Media type of the body.

        Raises:
            Unreachable: No node answered.
            StoreError: The cluster refused with a status that is not in ``good``.
        """
        headers = {"accept": JSON}
        if body is not None:
            headers["content-type"] = kind
        try:
            with warnings.catch_warnings():
                # What the cluster deprecates is no concern of a user's.
                warnings.simplefilter("ignore", elasticsearch.ElasticsearchWarning)
                found = self._client.perform_request(method, path, params=params, headers=headers, body=body)
            return Answer(found.meta.status, bytes(found.body) if isinstance(found.body, bytes) else b"")
        except elasticsearch.ApiError as error:
            answer = Answer(error.meta.status, error.body if isinstance(error.body, bytes) else b"")
            if answer.status in good:
                return answer
            raise self.refused(answer) from error
        except elasticsearch.UnsupportedProductError as error:
            raise StoreError(
                "what answers there is not Elasticsearch", where=self.where, hint="check the address"
            ) from error
        except elastic_transport.TlsError as error:
            raise StoreError(
                f"the connection is not to be trusted: {_last(error)}",
                where=self.where,
                hint="name the CA file that signed the cluster's certificate: ca in [store] of jianmen.toml",
            ) from error
        except elastic_transport.TransportError as error:
            raise Unreachable(
                f"Elasticsearch cannot be reached: {_last(error)}",
                where=self.where,
                hint="check the address and that the cluster runs; what was not acknowledged may be sent again",
            ) from error

    def refused(self, answer: Answer) -> StoreError:
        """The error of a request that the cluster refused."""
        hint = {
            401: "check the user and password, or the API key, in [store] of jianmen.toml",
            403: "the account lacks a privilege; deploy/ has the roles",
            413: "raise http.max_content_length of the cluster",
        }.get(answer.status)
        kind = Unreachable if answer.status in (408, 429, 502, 503, 504) else StoreError
        return kind(f"Elasticsearch refuses: {answer.reason()}", where=self.where, hint=hint)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def part(text: str) -> str:
    """Quote one part of a path."""
    return quote(text, safe="")


def shown(url: str) -> str:
    """An address without credentials."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rsplit("@", 1)[-1]).geturl()


def _complete(url: str) -> str:
    """The client wants a port."""
    parts = urlsplit(url)
    if parts.port is not None:
        return url
    return parts._replace(netloc=f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}").geturl()


def _last(error: BaseException) -> str:
    return str(error).removeprefix("ConnectionError(").split(" caused by:")[0][:300]
