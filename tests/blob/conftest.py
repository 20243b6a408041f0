from __future__ import annotations

import pytest
from blobkit import BlobKit


@pytest.fixture(scope="session")
def kit() -> BlobKit:
    return BlobKit()
