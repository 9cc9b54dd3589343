"""What the Sigma taxonomy calls a log source of Windows: channels, event codes, and the fields they record.

Fields of Sysmon: its manifest, schema 4.90. Fields of the Security log: Microsoft's descriptions of the events. Names
are those of ``winlog.event_data.``; a class with a list records nothing else.
"""

from __future__ import annotations

from event.channels import LINUX_SYSMON, SECURITY, SYSMON

_PROCESS = "RuleName UtcTime ProcessGuid ProcessId Image User"
_REGISTRY = f"{_PROCESS} EventType TargetObject"
_IMAGE = "FileVersion Description Product Company OriginalFileName"
_DELETED = f"{_PROCESS} TargetFilename Hashes IsExecutable"

SYSMON_FIELDS: dict[str, frozenset[str]] = {
    code: frozenset(names.split())
    for code, names in {
        "1": f"{_PROCESS} {_IMAGE} CommandLine CurrentDirectory LogonGuid LogonId TerminalSessionId IntegrityLevel "
        "Hashes ParentProcessGuid ParentProcessId ParentImage ParentCommandLine ParentUser",
        "2": f"{_PROCESS} TargetFilename CreationUtcTime PreviousCreationUtcTime",
        "3": f"{_PROCESS} Protocol Initiated SourceIsIpv6 SourceIp SourceHostname SourcePort SourcePortName "
        "DestinationIsIpv6 DestinationIp DestinationHostname DestinationPort DestinationPortName",
        "4": "UtcTime State Version SchemaVersion",
        "5": _PROCESS,
        "6": "RuleName UtcTime ImageLoaded Hashes Signed Signature SignatureStatus",
        "7": f"{_PROCESS} {_IMAGE} ImageLoaded Hashes Signed Signature SignatureStatus",
        "8": "RuleName UtcTime SourceProcessGuid SourceProcessId SourceImage TargetProcessGuid TargetProcessId "
        "TargetImage NewThreadId StartAddress StartModule StartFunction SourceUser TargetUser",
        "9": f"{_PROCESS} Device",
        "10": "RuleName UtcTime SourceProcessGUID SourceProcessId SourceThreadId SourceImage TargetProcessGUID "
        "TargetProcessId TargetImage GrantedAccess CallTrace SourceUser TargetUser",
        "11": f"{_PROCESS} TargetFilename CreationUtcTime",
        "12": _REGISTRY,
        "13": f"{_REGISTRY} Details",
        "14": f"{_REGISTRY} NewName",
        "15": f"{_PROCESS} TargetFilename CreationUtcTime Hash Contents",
        "16": "UtcTime Configuration ConfigurationFileHash",
        "17": f"{_PROCESS} EventType PipeName",
        "18": f"{_PROCESS} EventType PipeName",
        "19": "RuleName EventType UtcTime Operation User EventNamespace Name Query",
        "20": "RuleName EventType UtcTime Operation User Name Type Destination",
        "21": "RuleName EventType UtcTime Operation User Consumer Filter",
        "22": f"{_PROCESS} QueryName QueryStatus QueryResults",
        "23": f"{_DELETED} Archived",
        "24": f"{_PROCESS} Session ClientInfo Hashes Archived",
        "25": f"{_PROCESS} Type",
        "26": _DELETED,
        "27": f"{_PROCESS} TargetFilename Hashes",
        "28": _DELETED,
        "29": f"{_PROCESS} TargetFilename Hashes",
        "255": "UtcTime ID Description",
    }.items()
}
"""Event code of Sysmon to the members of its EventData."""

SYSMON_CATEGORIES: dict[str, tuple[str, ...]] = {
    "process_creation": ("1",),
    "file_change": ("2",),
    "network_connection": ("3",),
    "sysmon_status": ("4", "16"),
    "process_termination": ("5",),
    "driver_load": ("6",),
    "image_load": ("7",),
    "create_remote_thread": ("8",),
    "raw_access_thread": ("9",),
    "process_access": ("10",),
    "file_event": ("11",),
    "registry_event": ("12", "13", "14"),
    "registry_add": ("12",),
    "registry_delete": ("12",),
    "registry_set": ("13",),
    "registry_rename": ("14",),
    "create_stream_hash": ("15",),
    "pipe_created": ("17", "18"),
    "wmi_event": ("19", "20", "21"),
    "dns_query": ("22",),
    "file_delete": ("23", "26"),
    "clipboard_capture": ("24",),
    "process_tampering": ("25",),
    "file_block_executable": ("27",),
    "file_block_shredding": ("28",),
    "file_executable_detected": ("29",),
    "sysmon_error": ("255",),
}
"""Sigma category to event codes of Sysmon."""

LINUX_CATEGORIES = frozenset(
    {"process_creation", "network_connection", "process_termination", "raw_access_thread", "file_event", "file_delete"}
)
"""Categories that Sysmon for Linux records too, under the same codes."""

_SCRIPT = frozenset(["MessageNumber", "MessageTotal", "ScriptBlockText", "ScriptBlockId", "Path"])
_MODULE = frozenset(["ContextInfo", "UserData", "Payload"])
_CLASSIC = frozenset({"Data"})

OTHER_CATEGORIES: dict[str, tuple[tuple[str, tuple[str, ...], frozenset[str] | None], ...]] = {
    "ps_script": (("windows.powershell", ("4104",), _SCRIPT),),
    "ps_module": (("windows.powershell", ("4103",), _MODULE),),
    "ps_classic_start": (("windows.powershell_classic", ("400",), _CLASSIC),),
    "ps_classic_provider_start": (("windows.powershell_classic", ("600",), _CLASSIC),),
    "ps_classic_script": (("windows.powershell_classic", ("800",), _CLASSIC),),
    "file_access": (("windows.kernel_file", ("12",), None),),
    "file_rename": (("windows.kernel_file", ("27",), None),),
    "antivirus": (
        (
            "windows.windefend",
            ("1006", "1007", "1008", "1015", "1116", "1117", "1118", "1119"),
            frozenset(["Signature", "Filename", "User", "Action"]),
        ),
    ),
}
"""Sigma category to (dataset, event codes, fields) beside Sysmon."""

AUDIT_CATEGORIES: dict[str, tuple[str, frozenset[str]]] = {
    "process_creation": (
        "4688",
        frozenset(
            [
                "Image",
                "ParentImage",
                "CommandLine",
                "User",
                "LogonId",
                "IntegrityLevel",
                "NewProcessName",
                "ParentProcessName",
            ]
        ),
    ),
    "registry_set": ("4657", frozenset(["TargetObject", "Details", "Image", "User", "EventType"])),
    "network_connection": (
        "5156",
        frozenset(
            [
                "Image",
                "Initiated",
                "Protocol",
                "SourceIp",
                "SourcePort",
                "DestinationIp",
                "DestinationPort",
                "ProcessId",
            ]
        ),
    ),
}
"""Category to the event of the Security log that says the same, and which fields of Sysmon's it can stand for.

A rule looks at it only if it names no other field: a filter on a field that is not recorded would never hold, and the
rule would match what its author wanted left out."""

SERVICES: dict[str, tuple[str, ...]] = {
    "application": ("windows.application",),
    "security": (SECURITY,),
    "system": ("windows.system",),
    "sysmon": (SYSMON,),
    "powershell": ("windows.powershell",),
    "powershell-classic": ("windows.powershell_classic",),
    "taskscheduler": ("windows.taskscheduler",),
    "wmi": ("windows.wmi",),
    "windefend": ("windows.windefend",),
    "firewall-as": ("windows.firewall_as",),
    "bits-client": ("windows.bits_client",),
    "codeintegrity-operational": ("windows.codeintegrity",),
    "appxdeployment-server": ("windows.appxdeployment_server",),
    "appxpackaging-om": ("windows.appxpackaging_om",),
    "appmodel-runtime": ("windows.appmodel_runtime",),
    "applocker": ("windows.applocker",),
    "dns-client": ("windows.dns_client",),
    "dns-server": ("windows.dns_server",),
    "dns-server-audit": ("windows.dns_server_audit",),
    "dns-server-analytic": ("windows.dns_server_analytic",),
    "dhcp": ("windows.dhcp",),
    "driver-framework": ("windows.driver_framework",),
    "ntlm": ("windows.ntlm",),
    "printservice-admin": ("windows.printservice_admin",),
    "printservice-operational": ("windows.printservice_operational",),
    "smbclient-security": ("windows.smbclient_security",),
    "smbclient-connectivity": ("windows.smbclient_connectivity",),
    "smbserver-connectivity": ("windows.smbserver_connectivity",),
    "msexchange-management": ("windows.msexchange_management",),
    "iis-configuration": ("windows.iis_configuration",),
    "ldap": ("windows.ldap",),
    "ldap_debug": ("windows.ldap",),
    "openssh": ("windows.openssh",),
    "lsa-server": ("windows.lsa_server",),
    "shell-core": ("windows.shell_core",),
    "security-mitigations": ("windows.security_mitigations",),
    "terminalservices-localsessionmanager": ("windows.terminalservices_localsessionmanager",),
    "terminalservices-remoteconnectionmanager": ("windows.terminalservices_remoteconnectionmanager",),
    "microsoft-servicebus-client": ("windows.servicebus_client",),
    "certificateservicesclient-lifecycle-system": ("windows.certificateservicesclient_lifecycle_system",),
    "capi2": ("windows.capi2",),
    "diagnosis-scripted": ("windows.diagnosis_scripted",),
    "hyper-v-worker": ("windows.hyper_v_worker",),
    "kernel-shimengine": ("windows.kernel_shimengine",),
    "kernel-event-tracing": ("windows.kernel_event_tracing",),
    "vhdmp": ("windows.vhdmp",),
    "sense": ("windows.sense",),
    "winrm": ("windows.winrm",),
}
"""Sigma service to datasets; see ``event.channels`` for their channels."""

__all__ = [
    "AUDIT_CATEGORIES",
    "LINUX_CATEGORIES",
    "LINUX_SYSMON",
    "OTHER_CATEGORIES",
    "SERVICES",
    "SYSMON_CATEGORIES",
    "SYSMON_FIELDS",
]
