"""What a store has to keep to: the contract, asked of this one with these credentials."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial

import blake3

from vaultpy.errors import ObjectExists, ObjectNotFound, StoreContradiction, StoreDenied, StoreError
from vaultpy.model import BlobHash, ExportId, KeyId
from vaultpy.ops.probing.probed import Right, Verdict
from vaultpy.ops.probing.trying import SMALL, Trying
from vaultpy.purges import PurgeRecord, encode_record
from vaultpy.store import names

BODY = 200_000
"""Bytes of the object that is read: some pieces of 64 KiB, and no multiple of anything."""

SKEW_NS = 5 * 1_000_000_000
"""How far an object's time may be from the store's clock: HTTP dates have whole seconds, and a put takes a while."""

LOCAL_SKEW_NS = 300 * 1_000_000_000
"""How far this machine's clock may be off: at 15 minutes S3 refuses."""

_DELETES = (
    (Right.DELETE_METADATA, names.METADATA),
    (Right.DELETE_BLOBS, names.BLOBS),
    (Right.DELETE_PURGES, names.PURGES),
)


def look(trying: Trying) -> None:
    """What needs no put: the clock, the right to list, and what is said of objects that are not there."""
    began = trying.clock()
    try:
        now = trying.store.clock()
        trying.rights[Right.LIST] = True
    except StoreDenied as error:
        trying.rights[Right.LIST] = False
        trying.say(
            "listing", Verdict.WEAK, f"not allowed: {error.message}", "nothing is reused and no second look taken"
        )
    else:
        off = abs(now - (began + trying.clock()) // 2)
        if off > LOCAL_SKEW_NS:
            said = f"this machine's clock and the store's differ by {off // 1_000_000_000} s"
            trying.say("clock", Verdict.WEAK, said, "set it (NTP): S3 refuses requests that are 15 minutes off")
    id = trying.new_id()
    for right, name in (
        (Right.GET_BLOBS, names.blob_name(BlobHash(trying.random(32)))),
        (Right.GET_METADATA, names.export_name(ExportId(id))),
        (Right.GET_KEYS, names.key_name(KeyId(id), 0)),
        (Right.GET_PURGES, names.purge_name(id)),
    ):
        _look_for(trying, right, name)


def use(trying: Trying) -> None:
    """Put what a host puts, and read it as hosts and keepers do."""
    for right, name, body in _bodies(trying):
        if trying.may(right, partial(trying.put_object, name, body)) and trying.scratch is None:
            trying.scratch = name, body
    if trying.scratch is None:
        return
    if trying.rights.get(Right.PUT_METADATA):
        large = names.export_name(ExportId(trying.new_id())), trying.random(BODY)
        if trying.may(Right.PUT_METADATA, partial(trying.put_object, *large)):
            trying.scratch = large
    name, body = trying.scratch
    _read_back(trying, name, body)
    if trying.rights[Right.LIST]:
        _see_listed(trying, name, len(body))
    _put_twice(trying, name)


def remove(trying: Trying) -> None:
    """Delete everything, and see that it is gone."""
    for right, prefix in _DELETES:
        ours = [name for name in trying.there if name.startswith(prefix)]
        if ours and trying.may(right, partial(trying.delete, ours)):
            _see_gone(trying, ours[0])


def name_oddly(trying: Trying) -> None:
    """Names of which one begins another: the layout has such (a manifest and its signature), and stores have confused
    them.  Only where they can be removed again."""
    if not trying.rights.get(Right.DELETE_METADATA) or not trying.rights[Right.LIST]:
        return
    folder = f"metadata/{trying.new_id()}/"
    odd = [folder + end for end in ("db", "db-1", "db.zst", "db.zst.sig", "db0", "d" * 120)]
    try:
        for name in odd:
            trying.put_object(name, name.encode())
        listed = [info.name for info in trying.store.list(folder)]
        right = listed == sorted(odd) and all(trying.store.get(name) == name.encode() for name in odd)
    except StoreError as error:
        trying.say("names", Verdict.BAD, error.message, "objects could be confused")
        return
    trying.judge("names", right, f"{len(odd)} names of which some begin others were kept apart", "objects are confused")


def _bodies(trying: Trying) -> Iterator[tuple[Right, str, bytes]]:
    yield Right.PUT_METADATA, names.export_name(ExportId(trying.new_id())), trying.random(SMALL)
    blob = trying.random(SMALL)
    yield Right.PUT_BLOBS, names.blob_name(BlobHash(blake3.blake3(blob).digest())), blob
    yield Right.PUT_PURGES, names.purge_name(trying.new_id()), encode_record(PurgeRecord())


def _look_for(trying: Trying, right: Right, name: str) -> None:
    try:
        trying.store.get(name)
    except ObjectNotFound:
        trying.rights[right] = True
    except StoreDenied:
        trying.rights[right] = False
    except StoreError as error:
        trying.say("missing objects", Verdict.BAD, error.message, "a definite `not found` is what nothing else may be")
    else:
        said = f"{name} was never put, and has content"
        trying.say("missing objects", Verdict.BAD, said, "what this store shows is not what was put")


def _read_back(trying: Trying, name: str, body: bytes) -> None:
    if not trying.rights.get(Right.GET_METADATA if name.startswith(names.METADATA) else Right.GET_PURGES):
        return
    try:
        whole = trying.store.get(name) == body
        ranges = all(
            trying.store.get(name, start, length) == body[start : start + length] for start, length in _ranges(body)
        )
        with contextlib.suppress(StoreContradiction):
            trying.store.get(name, len(body) - 1, 2)
            ranges = False
    except StoreError as error:
        trying.say("reading", Verdict.BAD, error.message, "a restore could not read what a run put")
        return
    trying.judge("reading", whole, "what was put came back at once", "what comes back is not what was put")
    trying.judge(
        "ranges", ranges, "parts of objects come exactly, and none past the end", "small files cannot be restored"
    )


def _see_listed(trying: Trying, name: str, size: int) -> None:
    try:
        listed = list(trying.store.list(name))
        now = trying.store.clock()
    except StoreError as error:
        trying.say("listing", Verdict.BAD, error.message, "no run and no prune can go by such listings")
        return
    right = [(info.name, info.size) for info in listed] == [(name, size)]
    trying.judge(
        "listing",
        right,
        "it shows an object as soon as it was put",
        "a run would not see what others rely on; a prune neither",
    )
    off = abs(listed[0].modified - now) if listed else 0
    trying.judge(
        "object times",
        off <= SKEW_NS,
        "an object's time is that of the store's clock",
        f"they differ by {off / 1e9:.0f} s: the grace of a prune cannot be counted",
    )


def _put_twice(trying: Trying, name: str) -> None:
    try:
        trying.store.put(name, b"other bytes")
    except ObjectExists:
        trying.say("second put", Verdict.GOOD, "the server refuses to replace an object", None)
    except StoreDenied as error:
        trying.say("second put", Verdict.GOOD, f"these credentials may not: {error.message}", None)
    else:
        said = "the server does not honour If-None-Match, and replaced an object"
        trying.say(
            "second put", Verdict.WEAK, said, "vaultpy never does so by itself; a second look after each run stands"
        )


def _see_gone(trying: Trying, name: str) -> None:
    if not trying.rights[Right.LIST]:
        return
    try:
        right = trying.store.stat(name) is None
        with contextlib.suppress(ObjectNotFound, StoreDenied):
            trying.store.get(name)
            right = False
    except StoreError as error:
        trying.say("deleting", Verdict.BAD, error.message, "what was deleted cannot be told from what is there")
        return
    trying.judge(f"deleting in {name.partition('/')[0]}/", right, "what was deleted is gone at once", "it still shows")


def _ranges(body: bytes) -> Iterator[tuple[int, int]]:
    size = len(body)
    yield 0, 1
    yield size // 2, size // 4
    yield size - 1, 1
    yield 0, size
    yield size, 0
