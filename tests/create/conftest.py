"""A machine with a small tree, over a store in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from machine import Machine, fill, make_machine

from vaultpy.ops.making import create
from vaultpy.source.roots import Found, Roots, plan_roots


@pytest.fixture(autouse=True)
def still_above(monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders above a test's own are the whole machine's, and change while others work: here they stay as they were."""
    seen: dict[bytes, Found] = {}

    def plan(paths: tuple[bytes, ...], **settings: Any) -> Roots:
        found = plan_roots(paths, **settings)
        return replace(found, ancestors=tuple(seen.setdefault(one[0], one) for one in found.ancestors))

    monkeypatch.setattr(create, "plan_roots", plan)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine whose tree holds some files, and that never made a snapshot."""
    made = make_machine(tmp_path)
    fill(made.tree)
    return made
