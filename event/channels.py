"""Channels of the Windows event log and the datasets that hold them.

A channel of this table has a dataset of its own, ``windows.<name>``; all others share ``windows.other``, so that what
a hostile host calls its channels makes no datasets.
"""

from __future__ import annotations

SYSMON = "windows.sysmon"
SECURITY = "windows.security"
LINUX_SYSMON = "windows.linux_sysmon"
OTHER = "windows.other"

CHANNELS: dict[str, tuple[str, ...]] = {
    "windows.application": ("Application",),
    SECURITY: ("Security",),
    "windows.system": ("System",),
    SYSMON: ("Microsoft-Windows-Sysmon/Operational",),
    LINUX_SYSMON: ("Linux-Sysmon/Operational",),
    "windows.powershell": ("Microsoft-Windows-PowerShell/Operational", "PowerShellCore/Operational"),
    "windows.powershell_classic": ("Windows PowerShell",),
    "windows.taskscheduler": ("Microsoft-Windows-TaskScheduler/Operational",),
    "windows.wmi": ("Microsoft-Windows-WMI-Activity/Operational",),
    "windows.windefend": ("Microsoft-Windows-Windows Defender/Operational",),
    "windows.firewall_as": (
        "Microsoft-Windows-Windows Firewall With Advanced Security/Firewall",
        "Microsoft-Windows-Windows Firewall With Advanced Security",
    ),
    "windows.bits_client": ("Microsoft-Windows-Bits-Client/Operational",),
    "windows.codeintegrity": ("Microsoft-Windows-CodeIntegrity/Operational",),
    "windows.appxdeployment_server": ("Microsoft-Windows-AppXDeploymentServer/Operational",),
    "windows.appxpackaging_om": ("Microsoft-Windows-AppxPackaging/Operational",),
    "windows.appmodel_runtime": ("Microsoft-Windows-AppModel-Runtime/Admin",),
    "windows.applocker": (
        "Microsoft-Windows-AppLocker/MSI and Script",
        "Microsoft-Windows-AppLocker/EXE and DLL",
        "Microsoft-Windows-AppLocker/Packaged app-Deployment",
        "Microsoft-Windows-AppLocker/Packaged app-Execution",
    ),
    "windows.dns_client": (
        "Microsoft-Windows-DNS Client Events/Operational",
        "Microsoft-Windows-DNS-Client/Operational",
    ),
    "windows.dns_server": ("DNS Server",),
    "windows.dns_server_audit": ("Microsoft-Windows-DNS-Server/Audit",),
    "windows.dns_server_analytic": ("Microsoft-Windows-DNS-Server/Analytical",),
    "windows.dhcp": ("Microsoft-Windows-DHCP-Server/Operational",),
    "windows.driver_framework": ("Microsoft-Windows-DriverFrameworks-UserMode/Operational",),
    "windows.ntlm": ("Microsoft-Windows-NTLM/Operational",),
    "windows.printservice_admin": ("Microsoft-Windows-PrintService/Admin",),
    "windows.printservice_operational": ("Microsoft-Windows-PrintService/Operational",),
    "windows.smbclient_security": ("Microsoft-Windows-SmbClient/Security",),
    "windows.smbclient_connectivity": ("Microsoft-Windows-SmbClient/Connectivity",),
    "windows.smbserver_connectivity": ("Microsoft-Windows-SMBServer/Connectivity",),
    "windows.msexchange_management": ("MSExchange Management",),
    "windows.iis_configuration": ("Microsoft-IIS-Configuration/Operational",),
    "windows.ldap": ("Microsoft-Windows-LDAP-Client/Debug",),
    "windows.openssh": ("OpenSSH/Operational",),
    "windows.lsa_server": ("Microsoft-Windows-LSA/Operational",),
    "windows.shell_core": ("Microsoft-Windows-Shell-Core/Operational",),
    "windows.security_mitigations": (
        "Microsoft-Windows-Security-Mitigations/KernelMode",
        "Microsoft-Windows-Security-Mitigations/UserMode",
        "Microsoft-Windows-Security-Mitigations/Kernel Mode",
        "Microsoft-Windows-Security-Mitigations/User Mode",
    ),
    "windows.terminalservices_localsessionmanager": (
        "Microsoft-Windows-TerminalServices-LocalSessionManager/Operational",
    ),
    "windows.terminalservices_remoteconnectionmanager": (
        "Microsoft-Windows-TerminalServices-RemoteConnectionManager/Operational",
    ),
    "windows.servicebus_client": ("Microsoft-ServiceBus-Client", "Microsoft-ServiceBus-Client/Operational"),
    "windows.certificateservicesclient_lifecycle_system": (
        "Microsoft-Windows-CertificateServicesClient-Lifecycle-System/Operational",
    ),
    "windows.capi2": ("Microsoft-Windows-CAPI2/Operational",),
    "windows.diagnosis_scripted": ("Microsoft-Windows-Diagnosis-Scripted/Operational",),
    "windows.hyper_v_worker": ("Microsoft-Windows-Hyper-V-Worker-Admin", "Microsoft-Windows-Hyper-V-Worker"),
    "windows.kernel_shimengine": (
        "Microsoft-Windows-Kernel-ShimEngine/Operational",
        "Microsoft-Windows-Kernel-ShimEngine/Diagnostic",
    ),
    "windows.kernel_event_tracing": ("Microsoft-Windows-Kernel-EventTracing/Admin",),
    "windows.kernel_file": ("Microsoft-Windows-Kernel-File", "Microsoft-Windows-Kernel-File/Analytic"),
    "windows.vhdmp": ("Microsoft-Windows-VHDMP-Operational", "Microsoft-Windows-VHDMP/Operational"),
    "windows.sense": ("Microsoft-Windows-SENSE/Operational",),
    "windows.winrm": ("Microsoft-Windows-WinRM/Operational",),
    "windows.rpc_firewall": ("RPCFW",),
}
"""Dataset to its channels, as Microsoft and the Sigma taxonomy name them."""

DATASET_OF: dict[str, str] = {channel.lower(): name for name, channels in CHANNELS.items() for channel in channels}
"""Channel in lower case to dataset."""


def dataset_of(channel: str | None) -> str:
    """The dataset of a channel."""
    return DATASET_OF.get(channel.lower(), OTHER) if channel else OTHER
