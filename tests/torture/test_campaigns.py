"""A sample of every campaign in every run of the tests; `make torture` runs them whole."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from campaigns import HERE, Campaign, all_campaigns
from recoverer import missing_programs

SEED = 5
"""The same cases every time: a change is blamed for what it broke, and chance is for `make torture`."""


@pytest.mark.parametrize("campaign", all_campaigns(), ids=lambda one: one.name)
def test_a_sample_of_the_campaign_finds_no_violation(campaign: Campaign, tmp_path: Path) -> None:
    missing = campaign.needs() or ", ".join(missing_programs())
    if missing:
        pytest.skip(f"campaign {campaign.name}: {missing} missing")
    words = ["--campaign", campaign.name, "--seed", str(SEED), "--sample", "--jobs", "1", "--results", str(tmp_path)]
    done = subprocess.run([sys.executable, HERE / "torture.py", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / f"{campaign.name}.json").read_text())
    assert result["cases"] >= 1, done.stdout
    assert result["violations"] == []
