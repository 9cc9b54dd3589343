"""Records of Windows events, in each shape that collectors give them, to targets and values.

A target is a field of the catalogue, ``winlog.event_data.<member>``, or one of ``TIMES`` and ``_created``. Records
of the same keys have the same targets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from operator import itemgetter
from typing import Any

DATA = "winlog.event_data."
MOST_MEMBERS = 512
"""Members of one record that become columns; the others go to ``winlog.rest``."""
MOST_SHAPES = 2_048
"""Different lists of keys that are remembered, and that a block of records may have; others share ``winlog.rest``."""
TIMES = ("_time1", "_time2", "_time3")
"""Targets of what may be the time, the best first."""
_DEPTH = 8

_EVTX = {
    "EventID": "event.code",
    "Channel": "winlog.channel",
    "Provider.Name": "winlog.provider_name",
    "Computer": "host.name",
    "EventRecordID": "winlog.record_id",
    "Version": "winlog.version",
    "Level": "winlog.level",
    "Task": "winlog.task",
    "Opcode": "winlog.opcode",
    "Keywords": "winlog.keywords",
    "Execution.ProcessID": "winlog.process.pid",
    "Execution.ThreadID": "winlog.process.thread.id",
    "Security.UserID": "winlog.user.identifier",
    "TimeCreated.SystemTime": "_time1",
}
_BEAT = {
    "winlog.event_id": "event.code",
    "event.code": "event.code",
    "event_id": "event.code",
    "winlog.channel": "winlog.channel",
    "log_name": "winlog.channel",
    "winlog.provider_name": "winlog.provider_name",
    "source_name": "winlog.provider_name",
    "winlog.computer_name": "host.name",
    "computer_name": "host.name",
    "host.name": "host.name",
    "winlog.record_id": "winlog.record_id",
    "record_number": "winlog.record_id",
    "winlog.version": "winlog.version",
    "version": "winlog.version",
    "log.level": "winlog.level",
    "level": "winlog.level",
    "winlog.level": "winlog.level",
    "winlog.task": "winlog.task",
    "task": "winlog.task",
    "winlog.opcode": "winlog.opcode",
    "opcode": "winlog.opcode",
    "winlog.keywords": "winlog.keywords",
    "keywords": "winlog.keywords",
    "winlog.process.pid": "winlog.process.pid",
    "winlog.process.thread.id": "winlog.process.thread.id",
    "winlog.user.identifier": "winlog.user.identifier",
    "user.identifier": "winlog.user.identifier",
    "message": "message",
    "@timestamp": "_time2",
    "event.created": "_created",
}
_FLAT = {
    "EventID": "event.code",
    "EventId": "event.code",
    "Channel": "winlog.channel",
    "LogName": "winlog.channel",
    "Provider_Name": "winlog.provider_name",
    "ProviderName": "winlog.provider_name",
    "SourceName": "winlog.provider_name",
    "Computer": "host.name",
    "Hostname": "host.name",
    "ComputerName": "host.name",
    "EventRecordID": "winlog.record_id",
    "RecordNumber": "winlog.record_id",
    "RecordId": "winlog.record_id",
    "Version": "winlog.version",
    "Level": "winlog.level",
    "Severity": "winlog.level",
    "Task": "winlog.task",
    "Opcode": "winlog.opcode",
    "OpcodeValue": "winlog.opcode",
    "Keywords": "winlog.keywords",
    "ProcessID": "winlog.process.pid",
    "ExecutionProcessID": "winlog.process.pid",
    "ThreadID": "winlog.process.thread.id",
    "ExecutionThreadID": "winlog.process.thread.id",
    "UserID": "winlog.user.identifier",
    "Message": "message",
    "SystemTime": "_time1",
    "TimeCreated": "_time1",
    "@timestamp": "_time2",
    "EventTime": "_time3",
    "EventReceivedTime": "_created",
}
_DROPPED = frozenset(
    {"@version", "tags", "port", "host", "type", "SourceModuleName", "SourceModuleType", "SeverityValue"}
)
"""What collectors add beside the event; the line keeps it."""

Pairs = tuple[tuple[str, ...], Sequence[Any]]
"""Targets (a field, or ``DATA`` and a member, or what is told apart later), and their values."""


class NotWindows(ValueError):
    """The object is no Windows event."""


def pairs_of(document: Any) -> Pairs:
    """Targets and values of one record.

    Raises:
        NotWindows: It is none.
    """
    if not isinstance(document, dict):
        raise NotWindows
    known = _FLAT_SHAPES.get(tuple(document))
    if known is not None:
        return _flat(document, known)
    event = document.get("Event")
    if isinstance(event, dict) and isinstance(event.get("System"), dict):
        return _evtx(event)
    if isinstance(document.get("System"), dict):
        return _evtx(document)
    if "winlog" in document or "winlog.channel" in document or "event_data" in document or "log_name" in document:
        return _beat(document)
    if "EventID" in document or "EventId" in document:
        keys = tuple(document)
        known = _flat_shape(keys)
        if len(keys) <= MOST_MEMBERS:
            if len(_FLAT_SHAPES) >= MOST_SHAPES:
                _FLAT_SHAPES.clear()
            _FLAT_SHAPES[keys] = known
        return _flat(document, known)
    raise NotWindows


def _sorted(targets: Sequence[str], values: Sequence[Any]) -> Pairs:
    """In the order of the alphabet: collectors write the same members in any order."""
    order = sorted(range(len(targets)), key=targets.__getitem__)
    return tuple([targets[place] for place in order]), [values[place] for place in order]


def _evtx(event: Mapping[str, Any]) -> Pairs:
    targets: list[str] = []
    values: list[Any] = []
    for key, value in event["System"].items():
        if isinstance(value, dict):
            inner = value.get("#attributes", value)
            text = value.get("#text", value.get("Value"))
            if key in _EVTX and text is not None:
                targets.append(_EVTX[key])
                values.append(text)
                continue
            for name, one in inner.items() if isinstance(inner, dict) else ():
                target = _EVTX.get(f"{key}.{name}")
                if target is not None:
                    targets.append(target)
                    values.append(one)
        elif key in _EVTX:
            targets.append(_EVTX[key])
            values.append(value)
        elif key == "TimeCreated":
            targets.append("_time1")
            values.append(value)
    seen = set(targets)
    for part in ("EventData", "UserData"):
        data = event.get(part)
        if isinstance(data, dict):
            _members(data, targets, values, seen, 1)
        elif data is not None and not isinstance(data, list):
            targets.append(DATA + "Data")
            values.append(data)
    return _sorted(targets, values)


def _members(data: Mapping[str, Any], targets: list[str], values: list[Any], seen: set[str], depth: int) -> None:
    """Members of EventData or UserData; wrappers fall away, a leaf's own name stays."""
    for key, value in data.items():
        if key == "#attributes":
            continue
        if isinstance(value, dict):
            if "#text" in value:
                value = value["#text"]
            elif depth < _DEPTH:
                _members(value, targets, values, seen, depth + 1)
                continue
        name = DATA + ("Data" if key == "#text" else key)
        if name in seen:
            name = f"{name}_{len(targets)}"
        seen.add(name)
        targets.append(name)
        values.append(value)


def _beat(document: Mapping[str, Any]) -> Pairs:
    found: dict[str, Any] = {}
    data: dict[str, Any] = {}

    def walk(level: Mapping[str, Any], prefix: str, depth: int) -> None:
        for key, value in level.items():
            path = prefix + key
            if path in ("winlog.event_data", "winlog.user_data", "event_data", "user_data") and isinstance(value, dict):
                data.update((name, one) for name, one in value.items() if name != "xml_name")
            elif path.startswith(("winlog.event_data.", "winlog.user_data.")):
                data.setdefault(path.split(".", 2)[2], value)
            elif isinstance(value, dict) and depth < _DEPTH:
                walk(value, path + ".", depth + 1)
            else:
                target = _BEAT.get(path)
                if target is not None and value is not None:
                    found.setdefault(target, value)

    walk(document, "", 1)
    if "event.code" not in found and "winlog.channel" not in found:
        raise NotWindows
    targets, values = list(found), list(found.values())
    _members(data, targets, values, set(targets), 1)
    return _sorted(targets, values)


_HOLDERS = ("winlog.event_data", "winlog.user_data", "event_data", "user_data")
_DOTTED = ("winlog.event_data.", "winlog.user_data.")


def beat_target(path: Sequence[str]) -> str | None:
    """Target of a member of a record of Winlogbeat that is no object, None if it is dropped, as ``_beat`` has it.

    Of several with the same target out of ``_BEAT`` the first that has a value counts. Of EventData and UserData two
    can be the same member: what the target is then, and that of members of objects in them (``DATA`` alone), only the
    whole record tells.

    Args:
        path: Names of the objects that the member is in, and its own.
    """
    for depth in range(1, len(path) + 1):
        joined = ".".join(path[:depth])
        inside = joined in _HOLDERS and depth < len(path)
        if inside or joined.startswith(_DOTTED):
            if depth + inside < len(path):
                return DATA
            name = path[-1] if inside else joined.split(".", 2)[2]
            return None if inside and name == "xml_name" else DATA + name
    return _BEAT.get(".".join(path))


def beat_paths(target: str) -> Iterator[tuple[str, ...]]:
    """Paths that ``beat_target`` leads to a target out of ``_BEAT``."""
    for joined, one in _BEAT.items():
        if one == target:
            parts = joined.split(".")
            for cuts in product((False, True), repeat=len(parts) - 1):
                path = [parts[0]]
                for cut, part in zip(cuts, parts[1:], strict=True):
                    path[len(path) - (not cut) :] = [part] if cut else [f"{path[-1]}.{part}"]
                yield tuple(path)


_Getter = Callable[[Sequence[Any]], Sequence[Any]]
_Shape = tuple[tuple[str, ...], _Getter]
_FLAT_SHAPES: dict[tuple[str, ...], _Shape] = {}
"""Keys of a flat record to its targets and what picks their values: thousands of records share their keys."""
_RANKS = {key: rank for rank, key in enumerate(_FLAT)}


def flat_target(key: str) -> tuple[str | None, int]:
    """Target of a key of a flat record, None if it is dropped; and its rank among keys of the same target.

    Of several, the key of the lowest rank that has a value says what the target is.
    """
    target = _FLAT.get(key)
    if target is not None:
        return target, _RANKS[key]
    return (None if key in _DROPPED else DATA + key), 0


def _flat(document: Mapping[str, Any], known: _Shape) -> Pairs:
    targets, pick = known
    values = pick(tuple(document.values()))
    if dict not in map(type, values):
        return targets, values
    flat: list[str] = []
    leaves: list[Any] = []
    seen: set[str] = set()
    for target, value in zip(targets, values, strict=True):
        if isinstance(value, dict):
            _members(value, flat, leaves, seen, 2)
        elif target not in seen:
            seen.add(target)
            flat.append(target)
            leaves.append(value)
    return _sorted(flat, leaves)


def _flat_shape(keys: Sequence[str]) -> _Shape:
    """Targets in the order of the alphabet, see ``_sorted``."""
    found: dict[str, list[tuple[int, int]]] = {}
    for place, key in enumerate(keys):
        target, rank = flat_target(key)
        if target is not None:
            found.setdefault(target, []).append((rank, place))
    targets = tuple(sorted(found))
    places = [[place for _, place in sorted(found[target])] for target in targets]
    several = [(at, some[1:]) for at, some in enumerate(places) if len(some) > 1]
    first = itemgetter(*(some[0] for some in places)) if len(places) > 1 else None

    def pick(values: Sequence[Any]) -> Sequence[Any]:
        if first is None:
            return [values[places[0][0]]]
        picked: Sequence[Any] = first(values)
        for at, others in several:
            if picked[at] is None:
                picked = list(picked)
                picked[at] = next((values[place] for place in others if values[place] is not None), None)
        return picked

    return targets, pick
