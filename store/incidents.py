"""Incidents in the embedded store's catalogue: every version is kept, none is changed."""

from __future__ import annotations

from pydantic import ValidationError

from event.errors import StoreError
from event.incident import Incident
from store.catalogue import Catalogue, clamp_ns


def put(catalogue: Catalogue, incident: Incident) -> None:
    """Store a version.

    Raises:
        StoreError: It does not follow on the version that is stored.
    """
    with catalogue.writing() as connection:
        stored = connection.execute("SELECT max(version) FROM incidents WHERE id = ?", (incident.id,)).fetchone()[0]
        if (stored or 0) != incident.version - 1:
            found = "is not stored" if stored is None else f"is stored in version {stored}"
            raise StoreError(
                f"incident {incident.id} {found}, version {incident.version} does not follow",
                where=str(catalogue.path),
                hint="somebody changed it meanwhile: read it again and repeat the change",
            )
        connection.execute(
            "INSERT INTO incidents VALUES (?, ?, ?, ?, ?)",
            (
                incident.id,
                incident.version,
                incident.status,
                clamp_ns(incident.last_seen),
                incident.model_dump_json(),
            ),
        )


def get(catalogue: Catalogue, incident_id: str, version: int | None) -> Incident | None:
    """One incident by id or unique prefix.

    Raises:
        StoreError: Several ids begin so, or the stored text is not an incident.
    """
    if not incident_id:
        return None
    with catalogue.reading() as connection:
        names = [
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT id FROM incidents WHERE substr(id, 1, ?) = ? ORDER BY id LIMIT 6",
                (len(incident_id), incident_id),
            )
        ]
        if incident_id in names:
            names = [incident_id]
        if len(names) > 1:
            shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
            raise StoreError(f"several incidents begin with {incident_id!r}", hint=f"they are: {shown}")
        if not names:
            return None
        row = connection.execute(
            "SELECT body FROM incidents WHERE id = ?1 AND (?2 IS NULL OR version = ?2) ORDER BY version DESC LIMIT 1",
            (names[0], version),
        ).fetchone()
    return None if row is None else _load(catalogue, names[0], row[0])


def latest(catalogue: Catalogue) -> list[Incident]:
    """The latest version of each, newest ``last_seen`` first, then by id."""
    with catalogue.reading() as connection:
        rows = connection.execute(
            "SELECT id, body, last_seen, max(version) FROM incidents GROUP BY id ORDER BY last_seen DESC, id"
        ).fetchall()
    return [_load(catalogue, row[0], row[1]) for row in rows]


def _load(catalogue: Catalogue, incident_id: str, body: str) -> Incident:
    try:
        return Incident.model_validate_json(body)
    except ValidationError as error:
        raise StoreError(
            f"incident {incident_id} cannot be read: {error.error_count()} fields do not fit",
            where=str(catalogue.path),
            hint="it may have been written by another version of jianmen: use that one or a later one",
        ) from error
