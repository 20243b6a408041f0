"""Every sabotage still finds what it removes: a patch that no longer applies would prove nothing."""

from __future__ import annotations

import pytest
from campaign_sabotage import ROOT
from sabotages import SABOTAGES, Sabotage


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda one: one.name)
def test_a_sabotage_finds_the_safety_that_it_removes(sabotage: Sabotage) -> None:
    assert (ROOT / sabotage.file).read_text().count(sabotage.old) == 1
    assert all((ROOT / test.partition("::")[0]).exists() for test in sabotage.tests)


def test_at_least_twenty_safeties_are_removed() -> None:
    assert len({one.name for one in SABOTAGES}) >= 20
