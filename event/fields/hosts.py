"""What hosts and their services write: the Windows event log, the Linux audit log, web servers, applications.

``winlog.*`` are the names that Winlogbeat gives, so that searches and dashboards written for it fit.
"""

from event.fields.base import ecs, own

FIELDS = (
    own(
        "winlog.channel", "keyword", "Channel of the Windows event log: Security, Microsoft-Windows-Sysmon/Operational"
    ),
    own("winlog.provider_name", "keyword", "Provider that wrote the event"),
    own("winlog.record_id", "keyword", "EventRecordID: the record's number in its channel"),
    own("winlog.level", "long", "Level: 1 critical, 2 error, 3 warning, 4 information, 5 verbose"),
    own("winlog.version", "long", "Version of the event's template"),
    own("winlog.task", "keyword", "Task, number or word"),
    own("winlog.opcode", "keyword", "Opcode, number or word"),
    own("winlog.keywords", "keyword", "Keywords: bits or words"),
    own("winlog.user.identifier", "keyword", "SID under which the event was written"),
    own("winlog.process.pid", "long", "Process that wrote the event"),
    own("winlog.process.thread.id", "long", "Thread that wrote the event"),
    own("winlog.rest", "text", "Members beyond the bounds of a table, as a JSON object"),
    ecs("process.parent.command_line", "keyword", "Command line of the parent program"),
    ecs("process.parent.pid", "long", "Process id of the parent"),
    ecs("process.working_directory", "keyword", "Working directory"),
    ecs("process.title", "keyword", "Title of the process, as PROCTITLE records have it"),
    ecs("process.exit_code", "long", "What a system call or program returned"),
    ecs("user.id", "keyword", "User id or SID"),
    ecs("user.domain", "keyword", "Domain of the user"),
    ecs("user.effective.id", "keyword", "Effective user id"),
    ecs("file.path", "keyword", "Whole path of the file"),
    ecs("registry.path", "keyword", "Key and value of the registry"),
    ecs("registry.data.strings", "keyword", "What was written to the registry"),
    ecs("destination.domain", "keyword", "Name of the receiver"),
    own("network.initiated", "keyword", "true if this host opened the connection, else false"),
    own("auditd.type", "keyword", "Record type: SYSCALL, EXECVE, PATH, CWD, USER_LOGIN"),
    own("auditd.sequence", "long", "Serial number of the event that the record is part of"),
    own("auditd.node", "keyword", "Host that the record names (name_format)"),
    ecs("tls.server.x509.serial_number", "keyword", "Serial number of the server's certificate, upper case"),
    ecs("url.query", "keyword", "Part of the URL behind the question mark"),
    ecs("url.extension", "keyword", "Letters behind the last dot of the path, without the dot"),
    ecs("http.version", "keyword", "Version of HTTP"),
    ecs("http.request.referrer", "keyword", "Referer as it was sent"),
    own("http.request.cookie", "keyword", "Cookie as it was sent"),
    ecs("http.request.bytes", "long", "Request with its header", "bytes"),
    ecs("http.response.bytes", "long", "Response with its header", "bytes"),
    ecs("http.response.mime_type", "keyword", "Media type of the response"),
    own("web.server", "keyword", "What wrote the line, where its format says so: iis, squid"),
    own("web.substatus", "long", "Status of IIS behind the point"),
    own("web.result", "keyword", "Result of a proxy: TCP_MISS, TCP_DENIED"),
    own("app.product", "keyword", "Product as Sigma names it: aws, azure, kubernetes"),
    own("app.service", "keyword", "Service of the product as Sigma names it: cloudtrail, audit"),
)

OPEN_PREFIXES = {
    "winlog.event_data.": "Member of EventData or UserData of a Windows event, as the provider names it",
    "auditd.data.": "Field of an audit record, as auditd names it; of its SYSCALL record where the record has none",
    "app.data.": "Member of an application's JSON record, nested names joined by dots",
}
"""Beginnings of names that any source may continue."""
