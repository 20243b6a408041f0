"""What could go wrong beside the contract: a race, listings in pages, overwriting, and what no lock holds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from vaultpy.errors import ObjectNotFound, StoreContradiction, StoreDenied, StoreError
from vaultpy.ops.probing.probed import Right, Verdict
from vaultpy.ops.probing.trying import SMALL, Trying
from vaultpy.store.trial import Trial

PAGES = 5
"""Objects that a listing by pages of two has to show."""


def attempt(trying: Trying) -> None:
    """Try all of it, with what was put before."""
    if trying.scratch is None:
        return
    _race(trying)
    if trying.trial is None:
        return
    if trying.rights[Right.LIST]:
        _page(trying, trying.trial)
    _overwrite(trying, trying.trial, trying.scratch[0])
    _see_lock(trying, trying.trial)


def _race(trying: Trying) -> None:
    name, bodies = trying.free_name(), [trying.random(SMALL) for _ in range(2)]
    trying.there[name] = None
    with ThreadPoolExecutor(len(bodies)) as pool:
        done = [future.result() for future in [pool.submit(_try_put, trying, name, body) for body in bodies]]
    won = [body for body, stored in zip(bodies, done, strict=True) if stored]
    try:
        right = trying.store.get(name) in bodies
    except (ObjectNotFound, StoreContradiction):
        right = False
    except StoreDenied:
        right = True
    if not right:
        trying.say("two puts at once", Verdict.BAD, "neither of the two objects was left", "objects are mixed or lost")
    elif len(won) == 1:
        trying.say("two puts at once", Verdict.GOOD, "one of two puts of a name won", None)
    else:
        said = f"{len(won)} of two puts of a name were accepted"
        trying.say(
            "two puts at once",
            Verdict.WEAK,
            said,
            "only names that nobody else has keep objects apart: vaultpy's are such",
        )


def _try_put(trying: Trying, name: str, body: bytes) -> bool:
    try:
        trying.store.put(name, body)
    except StoreError:
        return False
    return True


def _page(trying: Trying, trial: Trial) -> None:
    free = [trying.free_name() for _ in range(PAGES)]
    try:
        for name in free:
            trying.put_object(name, b"page")
        prefix = _common_prefix(free)
        wanted = [info.name for info in trying.store.list(prefix)]
        listed = [info.name for info in trial.list_in_pages(prefix, 2)]
    except StoreError as error:
        trying.say("pages", Verdict.BAD, error.message, "a listing of more than a page cannot be relied on")
        return
    trying.judge(
        "pages",
        listed == wanted and set(free) <= set(listed),
        "a listing in pages is whole",
        "it leaves objects out",
    )


def _overwrite(trying: Trying, trial: Trial, name: str) -> None:
    try:
        trial.overwrite(name, b"overwritten")
        replaced = trying.store.stat(name)
    except StoreError as error:
        trying.say("overwriting", Verdict.GOOD, f"an object cannot be replaced: {error.message}", None)
        return
    if replaced is None or replaced.size != len(b"overwritten"):
        trying.say("overwriting", Verdict.GOOD, "an object stays as it was put", None)
    elif trying.keeps_versions_of(name):
        said = "these credentials can replace an object; the bucket keeps the version before"
        trying.say("overwriting", Verdict.GOOD, said, "a restore finds the right version by its hash")
    else:
        said = "these credentials can replace an object for good"
        trying.say(
            "overwriting", Verdict.WEAK, said, "whoever has them can destroy: versions, or the policy in docs/s3.md"
        )


def _see_lock(trying: Trying, trial: Trial) -> None:
    try:
        rule = trial.lock_rule()
    except StoreError as error:
        trying.say("object lock", Verdict.UNTOLD, error.message, None)
        return
    if rule is None:
        trying.say("object lock", Verdict.WEAK, "the bucket has none", "whoever may delete can delete for good")
    elif rule.days is None:
        trying.say(
            "object lock", Verdict.WEAK, "it has no default retention", "set one, or lock_days in the store's URL"
        )
    else:
        trying.say("object lock", Verdict.GOOD, f"every object is kept {rule.days} days ({rule.mode})", None)


def _common_prefix(given: list[str]) -> str:
    first, last = min(given), max(given)
    same = next((at for at, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:same]
