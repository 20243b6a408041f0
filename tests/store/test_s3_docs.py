"""docs/s3.md: its policies are policies, its settings are the settings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from vaultpy.store.location import SETTINGS

TEXT = (Path(__file__).parents[2] / "docs" / "s3.md").read_text()
FORBIDDEN_TO_HOSTS = ("Delete", "Retention", "Lifecycle", "Policy", "*")


def policy(title: str) -> list[dict[str, Any]]:
    section = TEXT.partition(f"### {title}\n")[2]
    match = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert match is not None
    statements: list[dict[str, Any]] = json.loads(match[1])["Statement"]
    return statements


def actions(statement: dict[str, Any]) -> list[str]:
    named: str | list[str] = statement["Action"]
    return named if isinstance(named, list) else [named]


def resources(title: str, action: str) -> list[str]:
    found: list[str] = []
    for statement in policy(title):
        if action in actions(statement):
            resource = statement["Resource"]
            found += resource if isinstance(resource, list) else [resource]
    return [name.removeprefix("arn:aws:s3:::BUCKET") for name in found]


def test_every_policy_is_json() -> None:
    blocks = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert [json.loads(block)["Version"] for block in blocks] == ["2012-10-17"] * 4


def test_a_host_may_not_delete_or_read_what_has_content() -> None:
    actions = [str(statement["Action"]) for statement in policy("Host")]
    assert not [action for action in actions for word in FORBIDDEN_TO_HOSTS if word in action]
    assert resources("Host", "s3:GetObject") == ["/PREFIX/vaultpy.json", "/PREFIX/metadata/*", "/PREFIX/purges/*"]


def test_a_keeper_reads_no_content_and_deletes_no_keys() -> None:
    assert resources("Keeper", "s3:GetObject") == resources("Host", "s3:GetObject")
    assert resources("Keeper", "s3:DeleteObject") == ["/PREFIX/blobs/*", "/PREFIX/metadata/*", "/PREFIX/purges/*"]


def test_a_keeper_sees_what_locks_keep_and_changes_no_lock() -> None:
    """Of the whole bucket only whether there are versions and locks."""
    assert resources("Keeper", "s3:ListBucketVersions") == [""]
    assert resources("Keeper", "s3:GetBucketObjectLockConfiguration") == [""]
    for action in ("s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"):
        assert resources("Keeper", action) == ["/PREFIX/metadata/*"]
    allowed = {action for statement in policy("Keeper") for action in actions(statement)}
    assert {action for action in allowed if not action.startswith(("s3:Get", "s3:List"))} == {
        "s3:PutObject",
        "s3:DeleteObject",
    }


def test_every_right_that_a_refusal_names_is_in_the_keepers_policy() -> None:
    source = (Path(__file__).parents[2] / "vaultpy" / "store" / "s3" / "versions.py").read_text()
    named = set(re.findall(r'"(s3:\w+)"', source))
    assert len(named) == 5
    assert named <= {action for statement in policy("Keeper") for action in actions(statement)}


def test_a_restorer_changes_nothing() -> None:
    assert {statement["Action"] for statement in policy("Restorer")} == {"s3:ListBucket", "s3:GetObject"}


@pytest.mark.parametrize("setting", SETTINGS)
def test_every_setting_is_documented(setting: str) -> None:
    assert f"| `{setting}` |" in TEXT
