"""The desk that takes requests."""

import pytest

from db import Store
from dicom_node.archive import Archive
from dicom_node.commitment import CommitmentDesk
from dicom_node.settings import Settings


@pytest.fixture
def desk(settings: Settings, store: Store, archive: Archive) -> CommitmentDesk:
    return CommitmentDesk(settings=settings, store=store, archive=archive)
