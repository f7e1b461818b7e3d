"""The service that takes requests."""

import pytest

from db import Store
from dicom_node.commitment import CommitmentService
from dicom_node.settings import Settings
from dicom_node.storage.archive import Archive


@pytest.fixture
def service(settings: Settings, store: Store, archive: Archive) -> CommitmentService:
    return CommitmentService(settings=settings.commitment, store=store, archive=archive)
