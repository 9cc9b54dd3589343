r"""DNS: RFC 1035, EDNS (RFC 6891), AAAA (RFC 3596), SRV (RFC 2782), CAA (RFC 8659), SVCB and HTTPS (RFC 9460).

A message is a DNS message without the length that goes before it in TCP. It gives one row. Text of the wire is
written as zone files write it, octets that are not printable ASCII as ``\DDD``.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from event.fields.dns import FIELDS
from sensor.base import I64, U8, Decoder, PairRule, PduBatch
from sensor.columns import pick, writable
from sensor.decoders.dns import kernel as k
from sensor.decoders.dns import names
from sensor.decoders.dns.deep import rare
from sensor.lists import lists

ANOMALIES = {
    "message_short": "The message is shorter than its header (RFC 1035, 4.1.1)",
    "name_cut": "A name goes on after the end of the message (4.1.2)",
    "name_pointer": "A compression pointer does not point backwards (4.1.4)",
    "name_pointer_chain": "A name goes through more than 32 compression pointers (4.1.4 sets no bound)",
    "label_type": "A label is of a reserved kind (4.1.4, RFC 6891, 5)",
    "name_long": "A name is longer than 255 octets (2.3.4)",
    "question_short": "The message ends before the questions its header announces (4.1.2)",
    "record_short": "The message ends before the records its header announces (4.1.3)",
    "record_data": "The data of an answer do not have the form of its type (3.3, 3.4)",
    "trailing_data": "Octets follow the last record that the header announces (4.1)",
}
"""In the order of the kernel's ``E_*`` numbers."""

_ERROR = pl.Series([None, *ANOMALIES], dtype=pl.String)
_MESSAGE = pl.Series([None, *ANOMALIES.values()], dtype=pl.String)
_OUTCOME = pl.Series(["success", "failure"])  # by the sign of the response code
_TYPE = pl.Series(["query", "answer"])


def _texts(text: str, start: I64, length: I64) -> pl.Series:
    """Pieces of a text; null where the length is -1."""
    pieces = [
        None if size < 0 else text[at : at + size] for at, size in zip(start.tolist(), length.tolist(), strict=True)
    ]
    return pl.Series(pieces, dtype=pl.String)


def _named(numbers: I64, known: dict[int, str], other: str = "{}") -> pl.Series:
    """Names of numbers; null for -1."""
    distinct, at = np.unique(numbers, return_inverse=True)
    found = [None if n < 0 else known.get(n, other.format(n)) for n in distinct.tolist()]
    return pick(pl.Series(found, dtype=pl.String), at)


def _known(numbers: I64) -> pl.Series:
    """Numbers; null for -1."""
    series = pl.Series(numbers)
    return series.set(series < 0, None)


def _flags(numbers: I64) -> pl.Series:
    distinct, at = np.unique(numbers, return_inverse=True)
    found = [[name for bit, name in names.FLAGS if n & bit] or None if n >= 0 else None for n in distinct.tolist()]
    return pick(pl.Series(found, dtype=pl.List(pl.String)), at)


def _run(pdus: PduBatch) -> tuple[I64, I64, U8]:
    """Run the kernel, with more room as long as it asks for it."""
    n = len(pdus)
    octets = writable(pdus.data)
    out = np.empty((k.MESSAGE_ROWS, n), np.int64)
    records = np.empty((k.RECORD_ROWS, n + k.MAX_ANSWERS), np.int64)
    text = np.empty(2 * len(pdus.data) + k.ROOM, np.uint8)
    used, state = np.zeros(2, np.int64), np.zeros(2, np.int64)
    at = 0
    while True:
        at = k.messages(octets, pdus.offset, pdus.length, at, out, records, text, used, state)
        if at == n:
            return out, records[:, : used[0]], text[: used[1]]
        if records.shape[1] - used[0] < k.MAX_ANSWERS:
            more = np.empty((k.RECORD_ROWS, 2 * records.shape[1]), np.int64)
            more[:, : used[0]] = records[:, : used[0]]
            records = more
        if len(text) - used[1] < k.ROOM:
            text = np.concatenate([text[: used[1]], np.empty(len(text) + k.ROOM, np.uint8)])


def decode(pdus: PduBatch) -> pl.DataFrame:
    """See ``sensor.base.Decoder.decode``."""
    out, records, text_bytes = _run(pdus)
    text = text_bytes.tobytes().decode("ascii")
    error = out[k.N_ERROR]
    data_text = _texts(text, records[k.R_TEXT], records[k.R_TEXT_LENGTH])
    kind = records[k.R_TYPE]
    todo = np.flatnonzero((records[k.R_TEXT_LENGTH] < 0) & ~np.isin(kind, (1, 2, 5, 6, 12, 15, 16, 28, 33, 39, 99)))
    if len(todo):
        written: list[str | None] = []
        for n in todo.tolist():
            at, size, owner = (int(records[row, n]) for row in (k.R_START, k.R_LENGTH, k.R_MESSAGE))
            one = rare(int(kind[n]), pdus.data[at : at + size].tobytes())
            if one is None and error[owner] in (k.OK, k.E_TRAILING):
                error[owner] = k.E_DATA
                out[k.N_ERROR_AT, owner] = at - int(pdus.offset[owner])
            written.append(one)
        data_text = data_text.scatter(todo, pl.Series(written, dtype=pl.String))
    flags, extended = out[k.N_FLAGS], out[k.N_EXTENDED]
    known = flags >= 0
    answer = known & (flags >= 0x8000)
    code = np.where(answer, (flags & 15) | np.where(extended >= 0, (extended >> 24) << 4, 0), -1)
    header_flags = np.where(known, flags | np.where(extended >= 0, (extended & 0x8000) << 1, 0), -1)
    original = _texts(text, out[k.N_NAME], out[k.N_NAME_LENGTH])
    lower = original.str.to_lowercase()
    op_code = _named(np.where(known, (flags >> 11) & 15, -1), names.OP_CODES)
    types = _named(kind, names.TYPES, "TYPE{}")
    answers = pl.DataFrame(
        {
            "dns.answers_data": (types + " " + data_text.fill_null("?")).str.strip_chars_end(" "),
            "dns.answers_ttl": records[k.R_TTL],
        }
    )
    is_address = np.isin(kind, (1, 28)) & (records[k.R_TEXT_LENGTH] > 0)
    addresses = pl.DataFrame({"dns.resolved_ip": data_text.filter(pl.Series(is_address))})
    frame = pl.DataFrame(
        {
            "_pdu": np.arange(len(pdus), dtype=np.int64),
            "event.action": op_code.str.to_lowercase(),
            "event.outcome": pick(_OUTCOME, np.sign(code)),
            "error.code": pick(_ERROR, error),
            "error.message": _messages(error, out[k.N_ERROR_AT]),
            "dns.id": _named(out[k.N_ID], {}),
            "dns.type": pick(_TYPE, np.where(known, answer.astype(np.int64), -1)),
            "dns.op_code": op_code,
            "dns.header_flags": _flags(header_flags),
            "dns.question.name": lower,
            "dns.question.name_original": original.set((original == lower).fill_null(True), None),
            "dns.question.type": _named(out[k.N_TYPE], names.TYPES, "TYPE{}"),
            "dns.question.class": _named(out[k.N_CLASS], names.CLASSES, "CLASS{}"),
            "dns.response_code": _named(code, names.RESPONSE_CODES),
            "dns.question_count": _known(out[k.N_QUESTIONS]),
            "dns.answer_count": _known(out[k.N_ANSWERS]),
            "dns.authority_count": _known(out[k.N_AUTHORITY]),
            "dns.additional_count": _known(out[k.N_ADDITIONAL]),
        }
    )
    return frame.with_columns(
        *lists(answers, out[k.N_LISTED]).get_columns(), *lists(addresses, out[k.N_ADDRESSES]).get_columns()
    )


def _messages(error: I64, at: I64) -> pl.Series:
    texts = pick(_MESSAGE, error)
    wrong = np.flatnonzero(error)
    if not len(wrong):
        return texts
    return texts.scatter(wrong, pick(texts, wrong) + pl.Series([f"; octet {place}" for place in at[wrong].tolist()]))


DECODER = Decoder(
    name="dns",
    decode=decode,
    fields=frozenset(field.name for field in FIELDS) - {"dns.matched"}
    | {"event.action", "event.outcome", "error.code", "error.message"},
    anomalies=ANOMALIES,
    keys=(
        "dns.type",
        "dns.question.name",
        "dns.question.type",
        "dns.question.class",
        "dns.response_code",
        "dns.answers_data",
    ),
    verbatim=(pl.col("dns.op_code") != "QUERY").fill_null(True),
    pair=PairRule(
        is_request=pl.col("dns.type") == "query",
        is_response=pl.col("dns.type") == "answer",
        keys=("dns.id", "dns.question.name"),
        copy=(),
        matched="dns.matched",
    ),
)
