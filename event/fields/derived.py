"""What ``correlate/derive.py`` says of an event when rules look at it; stored events do not have these."""

from event.fields.base import own

FIELDS = (
    own("policy.master", "keyword", "undeclared: the asset's masters are declared, and the client is none of them"),
    own("policy.setpoint", "keyword", "below or above: a value that is written lies outside the declared limits"),
    own("policy.limit", "double", "The limit that the value violates"),
    own("policy.value", "double", "The value that violates it"),
    own(
        "policy.conduit",
        "keyword",
        "undeclared: no conduit from the client's segment to the server's; read_only: none that lets control pass",
    ),
    own(
        "policy.power_zone",
        "keyword",
        "crossing: one side lies in power safety zone I or II, the other in III or IV",
    ),
    own(
        "clock.offset",
        "double",
        "Time in a message minus time of its capture; whole quarter hours up to 14 h are taken as a zone",
        "s",
    ),
)

NAMES = frozenset(field.name for field in FIELDS)
"""Fields that no store can look for."""
