"""What `latest` and `SOURCE@TIME` mean where somebody puts snapshots of his own into the store."""

from __future__ import annotations

from uuid import UUID

import pytest

from vaultpy.errors import UsageError
from vaultpy.model import HostId, KeyId, SnapshotId, SnapshotState, SourceId
from vaultpy.ops.reading.catalog import Catalog, Entry
from vaultpy.ops.reading.resolve import passed_over, resolve_snapshot
from vaultpy.ops.survey import Metadata

DAY = 24 * 3600 * 1_000_000_000


def entry(
    number: int, *, host: int = 1, signed: bool | None = True, name: str | None = "home", at: str = "host"
) -> Entry:
    return Entry(
        id=SnapshotId(UUID(int=number)),
        source=SourceId(UUID(int=host)),
        host=HostId(UUID(int=host)),
        seq=number,
        started=number * DAY,
        completed=number * DAY,
        state=SnapshotState.COMPLETE,
        key_id=KeyId(UUID(int=7)),
        repairs=None,
        pinned=False,
        signer=None,
        source_name=name,
        host_name=at,
        signed=signed,
    )


def catalog(*entries: Entry) -> Catalog:
    return Catalog(entries, (), (), (), Metadata({}, {}, {}))


@pytest.mark.parametrize("text", ["latest", "home@1980-01-01"])
@pytest.mark.parametrize("name", ["home", None], ids=["of the same name", "of a name that cannot be told"])
def test_what_an_unknown_signer_signed_is_in_nobodys_way(text: str, name: str | None) -> None:
    shown = catalog(entry(1), entry(2), entry(3, host=2, signed=False, name=name))
    assert resolve_snapshot(shown, text, None).seq == 2


@pytest.mark.parametrize(("name", "told"), [("home", 2), (None, 2), ("other", 0)])
def test_how_many_newer_ones_were_passed_over_is_known(name: str | None, told: int) -> None:
    """A machine that became a new host has its newest snapshots there; nobody is to take older ones for them."""
    strangers = [entry(number, host=2, signed=False, name=name) for number in (1, 3, 4)]
    shown = catalog(entry(2), *strangers)
    assert passed_over(shown, resolve_snapshot(shown, "latest")) == told
    unknown = catalog(*strangers)
    assert passed_over(unknown, unknown.entries[0]) == 0


def test_where_nobody_is_known_everything_counts() -> None:
    assert resolve_snapshot(catalog(entry(1, signed=False), entry(2, signed=False)), "latest", None).seq == 2


def test_several_sources_that_are_known_have_to_be_told_apart() -> None:
    with pytest.raises(UsageError, match="several sources"):
        resolve_snapshot(catalog(entry(1), entry(2, host=2)), "latest", None)


def test_hosts_with_sources_of_one_name_are_told_apart_by_theirs() -> None:
    shown = catalog(entry(1, at="attic"), entry(2, host=2, at="barn"))
    with pytest.raises(UsageError, match="several sources: attic:home, barn:home"):
        resolve_snapshot(shown, "latest", "home")
    assert resolve_snapshot(shown, "latest", "attic:home").seq == 1
    assert resolve_snapshot(shown, "barn:home@1980-01-01").seq == 2
    with pytest.raises(UsageError, match="has no snapshots"):
        resolve_snapshot(shown, "latest", "cellar:home")


def test_hosts_that_are_called_the_same_are_told_apart_by_id() -> None:
    """As after a state folder was lost: the machine is another host since, and nothing else of it has changed."""
    with pytest.raises(UsageError) as caught:
        resolve_snapshot(catalog(entry(1), entry(2, host=2)), "latest", "host:home")
    assert caught.value.message == f"several sources: host:home of host {UUID(int=1)}, host:home of host {UUID(int=2)}"


@pytest.mark.parametrize("name", ["host:None", "None:None", "None"])
def test_a_source_whose_name_cannot_be_told_is_called_nothing(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be told"):
        resolve_snapshot(catalog(entry(1, name=None)), "latest", name)


@pytest.mark.parametrize(("number", "more"), [(5, False), (6, True)])
def test_a_prefix_of_several_names_some_of_them(number: int, more: bool) -> None:
    with pytest.raises(UsageError) as caught:
        resolve_snapshot(catalog(*map(entry, range(1, number + 1))), "0000")
    assert caught.value.message.startswith(f"snapshot 0000: {number} snapshots begin like that ({UUID(int=1)}, ")
    assert caught.value.message.endswith(", …)") == more
