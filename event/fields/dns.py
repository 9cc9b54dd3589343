"""DNS (RFC 1035, RFC 3596, RFC 6891, RFC 9460)."""

from event.fields.base import ecs, own

FIELDS = (
    ecs("dns.id", "keyword", "Transaction id"),
    ecs("dns.type", "keyword", "query or answer"),
    ecs("dns.op_code", "keyword", "QUERY, STATUS, NOTIFY, UPDATE or the number"),
    ecs("dns.question.name", "keyword", "Name asked for, lower case"),
    own("dns.question.name_original", "keyword", "Name asked for, as it was sent, where that is not lower case"),
    ecs("dns.question.type", "keyword", "Type asked for: A, AAAA, TXT, ..."),
    ecs("dns.question.class", "keyword", "Class asked for: IN, CH, ..."),
    ecs("dns.response_code", "keyword", "NOERROR, NXDOMAIN, SERVFAIL, ... with the extended bits of EDNS"),
    ecs("dns.header_flags", "keyword", "AA, TC, RD, RA, AD, CD, DO", many=True),
    ecs("dns.resolved_ip", "ip", "Addresses in the answer", many=True),
    own("dns.answers_data", "keyword", "Answers: type data", many=True),
    own("dns.answers_ttl", "long", "Time to live of each answer", "s", many=True),
    own("dns.question_count", "long", "Questions; the first is the one that is shown"),
    own("dns.answer_count", "long", "Answer records"),
    own("dns.authority_count", "long", "Authority records"),
    own("dns.additional_count", "long", "Additional records"),
    own("dns.matched", "boolean", "An answer: its query was seen"),
)
