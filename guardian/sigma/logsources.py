"""Which events a rule is about: the ``logsource`` of a Sigma rule as a condition over EVENTS.

Owns the table. Windows is known by channel and event id, as the Sigma specification names them; any other service by its
name in ``source``. A product or category that is not known here restricts nothing: the fields that a rule asks for do.
"""

from __future__ import annotations

from typing import Final

from guardian.sigma.rule import Condition, Or, Text, Wild

_MS: Final = "Microsoft-Windows-"

CHANNELS: Final[dict[str, tuple[str, ...]]] = {
    "application": ("Application",),
    "applocker": tuple(
        f"{_MS}AppLocker/{name}"
        for name in ("MSI and Script", "EXE and DLL", "Packaged app-Deployment", "Packaged app-Execution")
    ),
    "appmodel-runtime": (f"{_MS}AppModel-Runtime/Admin",),
    "appxdeployment-server": (f"{_MS}AppXDeploymentServer/Operational",),
    "appxpackaging-om": (f"{_MS}AppxPackaging/Operational",),
    "bits-client": (f"{_MS}Bits-Client/Operational",),
    "capi2": (f"{_MS}CAPI2/Operational",),
    "certificateservicesclient-lifecycle-system": (
        f"{_MS}CertificateServicesClient-Lifecycle-System/Operational",
    ),
    "codeintegrity-operational": (f"{_MS}CodeIntegrity/Operational",),
    "diagnosis-scripted": (f"{_MS}Diagnosis-Scripted/Operational",),
    "dns-client": (f"{_MS}DNS Client Events/Operational",),
    "dns-server": ("DNS Server",),
    "dns-server-analytic": (f"{_MS}DNS-Server/Analytical",),
    "driver-framework": (f"{_MS}DriverFrameworks-UserMode/Operational",),
    "firewall-as": (f"{_MS}Windows Firewall With Advanced Security/Firewall",),
    "ldap": (f"{_MS}LDAP-Client/Debug",),
    "ldap_debug": (f"{_MS}LDAP-Client/Debug",),
    "lsa-server": (f"{_MS}LSA/Operational",),
    "msexchange-management": ("MSExchange Management",),
    "ntlm": (f"{_MS}NTLM/Operational",),
    "openssh": ("OpenSSH/Operational",),
    "powershell": (f"{_MS}PowerShell/Operational", "PowerShellCore/Operational"),
    "powershell-classic": ("Windows PowerShell",),
    "printservice-admin": (f"{_MS}PrintService/Admin",),
    "printservice-operational": (f"{_MS}PrintService/Operational",),
    "security": ("Security",),
    "security-mitigations": (
        f"{_MS}Security-Mitigations/Kernel Mode",
        f"{_MS}Security-Mitigations/User Mode",
    ),
    "shell-core": (f"{_MS}Shell-Core/Operational",),
    "smbclient-connectivity": (f"{_MS}SmbClient/Connectivity",),
    "smbclient-security": (f"{_MS}SmbClient/Security",),
    "sysmon": (f"{_MS}Sysmon/Operational",),
    "system": ("System",),
    "taskscheduler": (f"{_MS}TaskScheduler/Operational",),
    "terminalservices-localsessionmanager": (f"{_MS}TerminalServices-LocalSessionManager/Operational",),
    "vhdmp": (f"{_MS}VHDMP/Operational",),
    "windefend": (f"{_MS}Windows Defender/Operational",),
    "wmi": (f"{_MS}WMI-Activity/Operational",),
}
"""Channels of the services of Windows."""

_SYSMON: Final[dict[str, tuple[int, ...]]] = {
    "clipboard_change": (24,),
    "create_remote_thread": (8,),
    "create_stream_hash": (15,),
    "dns_query": (22,),
    "driver_load": (6,),
    "file_access": (),
    "file_block_executable": (27,),
    "file_block_shredding": (28,),
    "file_change": (2,),
    "file_delete": (23, 26),
    "file_event": (11,),
    "file_executable_detected": (29,),
    "file_rename": (),
    "image_load": (7,),
    "network_connection": (3,),
    "pipe_created": (17, 18),
    "process_access": (10,),
    "process_creation": (1,),
    "process_tampering": (25,),
    "process_termination": (5,),
    "raw_access_thread": (9,),
    "registry_add": (12,),
    "registry_delete": (12,),
    "registry_event": (12, 13, 14),
    "registry_rename": (14,),
    "registry_set": (13,),
    "sysmon_error": (255,),
    "sysmon_status": (4, 16),
    "wmi_event": (19, 20, 21),
}
"""Event ids of Sysmon for the categories of Windows."""

_OTHERS: Final[dict[str, tuple[str, ...]]] = {
    "file_access": ("Kernel-File/12",),
    "file_rename": ("Kernel-File/27",),
    "process_creation": ("Security-Auditing/4688", "Security/4688"),
    "ps_classic_provider_start": ("PowerShell/600", "Windows PowerShell/600"),
    "ps_classic_script": ("PowerShell/800", "Windows PowerShell/800"),
    "ps_classic_start": ("PowerShell/400", "Windows PowerShell/400"),
    "ps_module": ("PowerShell/4103", "PowerShell/Operational/4103", "PowerShellCore/4103"),
    "ps_script": ("PowerShell/4104", "PowerShell/Operational/4104", "PowerShellCore/4104"),
}
"""Kinds (provider or channel, then event id, as the built-in map writes them) for the same."""


def gate(product: str, category: str, service: str) -> Condition | None:
    """The condition that events of a log source meet; None = any event.

    >>> gate("tamv", "", "identity")
    Text(field='source', parts=('identity',), cased=False)
    """
    if product == "windows":
        if category in _SYSMON or category in _OTHERS:
            ids = _SYSMON.get(category, ())
            kinds = [f"{place}/{number}" for number in ids for place in ("Sysmon", "Sysmon/Operational")]
            return _one_of("kind", (*kinds, *_OTHERS.get(category, ())))
        if service in CHANNELS:
            channels = CHANNELS[service]
            # A map that had nothing better made the channel the source, without what all of them begin with.
            return _one_of("Channel", (*channels, *(name.removeprefix(_MS) for name in channels)))
        if not category and not service:
            return Text("EventID", (Wild.MANY,))
    return Text("source", (service,)) if service else None


def _one_of(field: str, texts: tuple[str, ...]) -> Condition:
    each = tuple(Text(field, (text,)) for text in dict.fromkeys(texts))
    return each[0] if len(each) == 1 else Or(each)
