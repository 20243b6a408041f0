"""Planning a purge or a removal: what is refused, and what would go."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from test_retention import DAY, NOW, days, entry

from vaultpy.errors import UntrustedSigner, UsageError
from vaultpy.model import HostId, SourceId
from vaultpy.ops.reading.catalog import Catalog, Entry
from vaultpy.ops.removing.purge import check_plan, plan_purge
from vaultpy.ops.removing.remove import plan_removal
from vaultpy.ops.removing.retention import Rules
from vaultpy.ops.survey import Metadata

LATEST = Rules(latest=True)


def named(entries: list[Entry], source: str = "home", number: int = 3, **changes: object) -> list[Entry]:
    id = SourceId(uuid.UUID(int=number))
    return [
        replace(one, source=id, source_name=source, host_name="ada", tags=one.tags or (), **changes)  # type: ignore[arg-type]
        for one in entries
    ]


def catalog(entries: list[Entry], partial: tuple[Entry, ...] = ()) -> Catalog:
    return Catalog(tuple(entries), partial, (), (), Metadata({}, {}, {}))


def going(found: Catalog, rules: Rules, source: str | None = None) -> list[int]:
    """Ages in days of what would go."""
    return [(NOW - one.started) // DAY for one in plan_purge(found, rules, NOW, source).going]


def test_no_rule_is_a_usage_error_and_never_everything() -> None:
    with pytest.raises(UsageError, match="no rule was given") as caught:
        plan_purge(catalog(named(days(3))), Rules(), NOW)
    assert caught.value.exit_code == 2


def test_each_source_is_looked_at_by_itself() -> None:
    found = catalog(named(days(2)) + named(days(3), "www", 4))
    assert going(found, Rules(last=1)) == [1, 2, 1]
    assert [one.name for one in plan_purge(found, LATEST, NOW).sources] == ["ada:home", "ada:www"]


def test_a_source_of_two_hosts_is_two_sources() -> None:
    other = HostId(uuid.UUID(int=9))
    found = catalog(named(days(2)) + named(days(2), host=other))
    assert going(found, LATEST, "home") == [1, 1]


def test_only_the_source_that_was_asked_for_is_purged() -> None:
    found = catalog(named(days(2)) + named(days(3), "www", 4))
    assert going(found, LATEST, "home") == [1]
    assert going(found, LATEST, str(uuid.UUID(int=4))) == [2, 1]


def test_an_unknown_source_is_an_error_that_names_those_there_are() -> None:
    with pytest.raises(UsageError, match="'hoem' has no snapshots") as caught:
        plan_purge(catalog(named(days(2))), LATEST, NOW, "hoem")
    assert caught.value.hint == "there are: home"


def test_an_unknown_tag_is_an_error_that_names_those_there_are() -> None:
    found = catalog(named([entry(NOW - 1, tags=("keep",)), entry(NOW)]))
    assert going(found, Rules(tags=("keep",))) == []
    with pytest.raises(UsageError, match="tag 'kepe' is on no snapshot") as caught:
        plan_purge(found, Rules(tags=("keep", "kepe")), NOW)
    assert caught.value.hint == "there are: keep"


def test_a_tag_that_only_another_source_has_is_unknown() -> None:
    found = catalog(named([entry(NOW - 1, tags=("keep",)), entry(NOW)]) + named(days(3), "www", 4))
    with pytest.raises(UsageError, match="tag 'keep' is on no snapshot"):
        plan_purge(found, Rules(tags=("keep",)), NOW, "www")


def test_without_names_and_tags_the_rules_that_need_them_are_refused() -> None:
    found = catalog(days(3))
    assert going(found, LATEST) == [2, 1]
    assert going(found, LATEST, str(uuid.UUID(int=3))) == [2, 1]
    with pytest.raises(UsageError, match="source names cannot be told"):
        plan_purge(found, LATEST, NOW, "home")
    with pytest.raises(UsageError, match="tags cannot be told"):
        plan_purge(found, Rules(tags=("keep",)), NOW)


def test_one_snapshot_without_a_name_could_be_of_the_source_asked_for() -> None:
    unknown = [replace(one, source=SourceId(uuid.UUID(int=4))) for one in days(1)]
    with pytest.raises(UsageError, match="source names cannot be told"):
        plan_purge(catalog(named(days(3)) + unknown), LATEST, NOW, "home")


def test_names_of_what_nobody_vouches_for_are_not_needed() -> None:
    strange = [replace(one, host=HostId(uuid.UUID(int=9)), signed=False, flag="strange") for one in days(3)]
    assert going(catalog(named(days(3)) + strange), LATEST, "home") == [2, 1]


def test_an_empty_store_has_nothing_to_purge() -> None:
    assert plan_purge(catalog([]), LATEST, NOW).going == ()


@pytest.mark.parametrize(("count", "last", "refused"), [(2, 1, False), (3, 1, True), (4, 2, False), (5, 2, True)])
def test_more_than_half_of_a_source_goes_only_by_force(count: int, last: int, refused: bool) -> None:
    plan = plan_purge(catalog(named(days(9), "www", 4) + named(days(count))), Rules(last=last, tags=()), NOW, "home")
    if not refused:
        check_plan(plan, force=False)
        return
    with pytest.raises(UsageError, match=rf"ada:home: {count - last} of {count} snapshots") as caught:
        check_plan(plan, force=False)
    assert "--force" in str(caught.value.hint)
    check_plan(plan, force=True)


def test_what_is_flagged_does_not_hide_that_more_than_half_goes() -> None:
    odd = named([entry(NOW + age, flag="odd") for age in range(1, 9)])
    with pytest.raises(UsageError, match="2 of 3"):
        check_plan(plan_purge(catalog(named(days(3)) + odd), LATEST, NOW), force=False)


def test_partial_snapshots_go_once_a_later_complete_one_is_there() -> None:
    complete = named([entry(NOW)])
    before, after = named([entry(NOW - 1_000_000), entry(NOW + 1_000_000)])
    elsewhere = named([entry(NOW - 2_000_000)], "www", 4)
    plan = plan_purge(catalog(complete, (before, after, *elsewhere)), LATEST, NOW)
    assert plan.partial == (before.id,)


def test_the_newest_of_a_source_cannot_be_removed() -> None:
    entries = named(days(3))
    for force in (False, True):
        with pytest.raises(UsageError, match=r"is the newest of ada:home"):
            plan_removal(catalog(entries), [str(entries[2].id)], force=force)
        with pytest.raises(UsageError, match=r"is the newest of ada:home"):
            plan_removal(catalog(entries), ["latest", str(entries[1].id)], force=force)


def test_others_can_and_each_once() -> None:
    entries = named(days(3))
    text = str(entries[0].id)
    assert plan_removal(catalog(entries), [text, text], force=False).going == (entries[0],)


def test_the_last_one_of_a_source_goes_by_force_which_retires_it() -> None:
    entries, others = named(days(1)), named([entry(NOW - 1), entry(NOW, 1)], "www", 4)
    partial = named([entry(NOW + 1_000_000)])
    found = catalog(entries + others, (*partial,))
    with pytest.raises(UsageError, match="the last one of ada:home") as caught:
        plan_removal(found, [str(entries[0].id)], force=False)
    assert "--force" in str(caught.value.hint)
    plan = plan_removal(found, [str(entries[0].id)], force=True)
    assert plan.retired_sources == ("ada:home",)
    assert plan.partial == (partial[0].id,)


def test_all_of_a_source_at_once_retire_it_too() -> None:
    entries = named(days(3))
    plan = plan_removal(catalog(entries), [str(one.id) for one in entries], force=True)
    assert len(plan.going) == 3
    assert plan.retired_sources == ("ada:home",)


def test_a_flagged_one_does_not_count_as_the_newest() -> None:
    entries = named([*days(2), entry(NOW + DAY, flag="signed later")])
    plan = plan_removal(catalog(entries), [str(entries[2].id)], force=False)
    assert plan.going == (entries[2],)
    with pytest.raises(UsageError, match="is the newest"):
        plan_removal(catalog(entries), [str(entries[1].id)], force=False)


def test_a_pinned_one_is_removed_only_by_force() -> None:
    entries = named([entry(NOW - 1, pinned=True), entry(NOW)])
    with pytest.raises(UsageError, match="is pinned"):
        plan_removal(catalog(entries), [str(entries[0].id)], force=False)
    assert plan_removal(catalog(entries), [str(entries[0].id)], force=True).going == (entries[0],)


def test_what_a_stranger_signed_is_not_removed() -> None:
    entries = named(days(2), signed=False, flag="strange")
    with pytest.raises(UntrustedSigner, match="unknown signer"):
        plan_removal(catalog(entries), [str(entries[0].id)], force=True)
