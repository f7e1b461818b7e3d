"""What a process of the receiver serves with; the composition root builds it and hands it over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from db import Store
from dicom_node.network.protocol import MessageService
from dicom_node.settings import Settings
from dicom_node.storage.service import StorageService

__all__ = ["BuildServices", "Services"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Storage, and whatever else is served, by its abstract syntax."""

    storage: StorageService
    messages: Mapping[str, MessageService]


BuildServices = Callable[[Settings, Store], Services]
