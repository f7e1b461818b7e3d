"""The node's settings: one TOML file and LUNGSENTRY_ variables, frozen, nothing unknown accepted.

A variable names its section and field with two underscores: ``LUNGSENTRY_RECEIVER__PORT=104``. A secret may
instead stand in a file that ``LUNGSENTRY_DATABASE__URL_FILE`` names.
"""

from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    Hl7Destination,
    MailDestination,
    MessageDestination,
    StowDestination,
    SyslogDestination,
    WebhookDestination,
)
from dicom_node.settings.document import document, shown
from dicom_node.settings.observing import Audit, Metrics
from dicom_node.settings.section import AETitle, SettingsError
from dicom_node.settings.sections import (
    Commitment,
    Completion,
    Database,
    Delivery,
    Logging,
    Node,
    Policy,
    ProfilePolicy,
    Quality,
    Receiver,
    Retention,
    Settings,
    Tls,
    Worker,
)
from dicom_node.settings.sources import CONFIG_VARIABLE, SEARCH_PATH, changed_policy, find_file, load
from dicom_node.settings.web import Oidc, Web

__all__ = [
    "CONFIG_VARIABLE",
    "SEARCH_PATH",
    "AETitle",
    "Audit",
    "Commitment",
    "Completion",
    "Database",
    "Delivery",
    "Destination",
    "DicomDestination",
    "Hl7Destination",
    "Logging",
    "MailDestination",
    "MessageDestination",
    "Metrics",
    "Node",
    "Oidc",
    "Policy",
    "ProfilePolicy",
    "Quality",
    "Receiver",
    "Retention",
    "Settings",
    "SettingsError",
    "StowDestination",
    "SyslogDestination",
    "Tls",
    "Web",
    "WebhookDestination",
    "Worker",
    "changed_policy",
    "document",
    "find_file",
    "load",
    "shown",
]
