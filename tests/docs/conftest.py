"""The documents, and vaults to try them on."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from recovering import Recovery, Sample, make_sample

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="session")
def docs() -> Path:
    """The folder of the documents."""
    return DOCS


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A vault with several snapshots, to be left as it is."""
    return make_sample(tmp_path_factory.mktemp("vault"))


@pytest.fixture(scope="session")
def script(docs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = re.search(r"^```sh\n(#!/bin/sh\n.*?)^```$", (docs / "recovery.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    path = tmp_path_factory.mktemp("script") / "restore.sh"
    path.write_text(found[1])
    return path


@pytest.fixture
def recovery(script: Path, tmp_path: Path) -> Recovery:
    return Recovery(script, tmp_path)


@pytest.fixture
def copied(sample: Sample, tmp_path: Path) -> Iterator[Sample]:
    """The same vault, to be damaged."""
    shutil.copytree(sample.store, tmp_path / "vault" / "store")
    shutil.copy(sample.identity, tmp_path / "vault")
    yield replace(sample, folder=tmp_path / "vault")
