"""What Zeek, Suricata and other log sources say beyond ECS; names follow the source."""

from event.fields.base import own

FIELDS = (
    own("zeek.uid", "keyword", "Connection uid"),
    own("zeek.path", "keyword", "Log path: conn, modbus, notice"),
    own("zeek.service", "keyword", "Service that Zeek found"),
    own("zeek.conn_state", "keyword", "Connection state: S0, SF, REJ, ..."),
    own("zeek.history", "keyword", "Connection history letters"),
    own("zeek.operation", "keyword", "Operation of a DCE/RPC call"),
    own("zeek.endpoint", "keyword", "Endpoint of a DCE/RPC call"),
    own("zeek.action", "keyword", "What was done: SMB::FILE_OPEN"),
    own("zeek.smb_path", "keyword", "Share that the file is in"),
    own("zeek.request_type", "keyword", "Kerberos request: AS or TGS"),
    own("zeek.cipher", "keyword", "Cipher of a Kerberos ticket"),
    own("zeek.resp_mime_types", "keyword", "Media types of what the server sent", many=True),
    own("zeek.rejected", "boolean", "The server refused the DNS query"),
    own("zeek.z", "long", "Reserved bits of the DNS header"),
    own("zeek.fields", "text", "Columns without a field of their own, as a JSON object"),
    own("suricata.event_type", "keyword", "EVE event type"),
    own("suricata.flow_id", "keyword", "EVE flow id"),
    own("suricata.signature_id", "long", "Signature id of an EVE alert"),
    own("suricata.gid", "long", "Generator id of an EVE alert"),
    own("suricata.action", "keyword", "allowed or blocked"),
    own("suricata.app_proto", "keyword", "Application protocol that Suricata found"),
    own("suricata.fields", "text", "Members without a field of their own, as a JSON object"),
)
