"""Safeties, each with a small patch that removes it and the tests that have to notice.

A patch replaces a text that is in its file exactly once; where the code has moved on, the patch moves along.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sabotage:
    """What is lost (`name`), where, by which replacement, and which tests must fail then."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


SABOTAGES = (
    Sabotage(
        "an object's bytes are not synced before it gets its name",
        "vaultpy/store/local.py",
        "                os.fsync(fd)\n            finally:",
        "                pass\n            finally:",
        ("tests/store/test_local_store.py",),
    ),
    Sabotage(
        "an object's name is not synced before put returns",
        "vaultpy/store/local.py",
        "            self._rename_reserved(temporary, target, name, body)\n        sync_folder(target.parent)",
        "            self._rename_reserved(temporary, target, name, body)",
        ("tests/store/test_local_store.py",),
    ),
    Sabotage(
        "put overwrites",
        "vaultpy/store/local.py",
        "os.link(temporary, target, follow_symlinks=False)",
        "os.replace(temporary, target)",
        ("tests/store/test_store_contract.py",),
    ),
    Sabotage(
        "a folder where a disk was mounted is an empty store",
        "vaultpy/store/local.py",
        "        if self._root_identity() != self._identity:",
        "        if False:",
        ("tests/store/test_local_hazards.py",),
    ),
    Sabotage(
        "a listing that is cut short counts as whole",
        "vaultpy/store/s3/listing.py",
        "    if not truncated:\n        return None",
        "    if not truncated or not page.get('NextContinuationToken'):\n        return None",
        ("tests/store/test_s3_list.py", "tests/store/test_s3_odd_answers.py"),
    ),
    Sabotage(
        "an answer that is no listing is an empty one",
        "vaultpy/store/s3/listing.py",
        "    if truncated is None:\n",
        "    if False:\n",
        ("tests/store/test_s3_list.py", "tests/store/test_s3_odd_answers.py"),
    ),
    Sabotage(
        "403 means that there is no such object",
        "vaultpy/store/s3/faults.py",
        'if code == "NoSuchKey" and status == 404:',
        'if code == "NoSuchKey" or status in (403, 404):',
        ("tests/store/test_s3_get.py", "tests/store/test_s3_refusals.py", "tests/store/test_s3_odd_answers.py"),
    ),
    Sabotage(
        "a frame is stored without being opened again",
        "vaultpy/blob/frames.py",
        "        _check(frame)\n        return frame",
        "        return frame",
        ("tests/blob/test_frames.py",),
    ),
    Sabotage(
        "a frame may unfold to any size",
        "vaultpy/blob/frames.py",
        "    if header.content_size != raw_size:",
        "    if False:",
        ("tests/blob/test_frames.py",),
    ),
    Sabotage(
        "a chunk is written without its hash being checked",
        "vaultpy/blob/reader.py",
        "    if hash_chunk(data) != hash:",
        "    if False:",
        ("tests/blob/test_blob_reader.py",),
    ),
    Sabotage(
        "a blob counts as stored before it is durable",
        "vaultpy/ops/making/put.py",
        "            self._store.put(blob_name(blob.hash), blob.pieces)\n            taken",
        "            self._finished.put(StoredBlob(replace(blob, pieces=()), began, 0))\n"
        "            self._store.put(blob_name(blob.hash), blob.pieces)\n            return\n            taken",
        ("tests/torture/test_found_by_campaigns.py",),
    ),
    Sabotage(
        "an export is not read back",
        "vaultpy/ops/making/publish.py",
        "    _read_back(vault, ref, written)",
        "    pass",
        ("tests/create/test_exports.py",),
    ),
    Sabotage(
        "the manifest is put before its signature",
        "vaultpy/ops/making/publish.py",
        "    vault.store.put(names.signature_name(snapshot), signature)\n",
        "    vault.store.put(names.manifest_name(snapshot), message)\n"
        "    vault.store.put(names.signature_name(snapshot), signature)\n",
        ("tests/create/test_deaths.py",),
    ),
    Sabotage(
        "a marked blob is good enough in the second look",
        "vaultpy/ops/making/publish.py",
        "for hash, size in listed_blobs(vault.store) if hash not in marked.blobs}",
        "for hash, size in listed_blobs(vault.store)}",
        ("tests/create/test_second_look.py", "tests/purge/test_prune_races.py"),
    ),
    Sabotage(
        "what a purge record names is built on",
        "vaultpy/ops/survey.py",
        "listed - find_ids(index, marked.blobs) - damaged_blobs(index)",
        "listed - damaged_blobs(index)",
        ("tests/create/test_reuse.py",),
    ),
    Sabotage(
        "an old copy of the index goes on",
        "vaultpy/ops/survey.py",
        "    if unknown:\n        raise IndexBehind(",
        "    if False:\n        raise IndexBehind(",
        ("tests/create/test_reuse.py",),
    ),
    Sabotage(
        "an unmounted disk means that all was deleted",
        "vaultpy/ops/making/vet.py",
        "        if _is_empty_folder(roots.place_of(path)) and",
        "        if False and",
        ("tests/create/test_unreadable.py",),
    ),
    Sabotage(
        "a file that was changed a moment ago counts as unchanged",
        "vaultpy/ops/making/take.py",
        "RACY_NS = 2_000_000_000",
        "RACY_NS = -(1 << 62)",
        ("tests/create/test_change_detection.py",),
    ),
    Sabotage(
        "a manifest is believed without its signature",
        "vaultpy/signature.py",
        "        Ed25519PublicKey.from_public_bytes(public).verify(raw, _to_be_signed(message, namespace))",
        "        pass",
        ("tests/keys/test_signature.py",),
    ),
    Sabotage(
        "any signer is believed",
        "vaultpy/signature.py",
        "        if self.any or found in self.pinned",
        "        if True or found in self.pinned",
        ("tests/manifest/test_open_manifest.py", "tests/keys/test_signature.py"),
    ),
    Sabotage(
        "an export is believed without its hash",
        "vaultpy/ops/reading/moment.py",
        "    if (digest.digest(), other.digest()) != (ref.blake3, ref.sha256):",
        "    if False:",
        ("tests/torture/test_found_by_campaigns.py",),
    ),
    Sabotage(
        "prune has no grace for young objects",
        "vaultpy/ops/records.py",
        "        return self.now - info.modified > self.grace",
        "        return True",
        ("tests/purge/test_prune.py",),
    ),
    Sabotage(
        "prune acts on a record at once",
        "vaultpy/ops/records.py",
        "        return self.is_live(info) and self.now - info.modified >= self.grace",
        "        return self.is_live(info)",
        ("tests/purge/test_prune.py",),
    ),
    Sabotage(
        "prune goes on beside a manifest that it cannot read",
        "vaultpy/ops/removing/needs.py",
        "    if unpardoned:\n        raise _stop(unpardoned)",
        "    if False:\n        raise _stop(unpardoned)",
        ("tests/purge/test_prune_stops.py",),
    ),
    Sabotage(
        "the manifests go before the record of their removal",
        "vaultpy/ops/removing/unpublish.py",
        "    record = put_record(store, PurgeRecord(snapshots=named), now, random)\n",
        "    delete_objects(store, map(names.manifest_name, named))\n"
        "    record = put_record(store, PurgeRecord(snapshots=named), now, random)\n",
        ("tests/purge/test_purge_apply.py",),
    ),
    Sabotage(
        "a purge may take the newest snapshot",
        "vaultpy/ops/removing/retention.py",
        "    yield NEWEST, newest_first[:1]\n",
        "",
        ("tests/purge/test_retention.py",),
    ),
    Sabotage(
        "false times push good snapshots out",
        "vaultpy/ops/removing/retention.py",
        "(one for one in entries if one.flag is None), key",
        "(one for one in entries), key",
        ("tests/purge/test_retention.py",),
    ),
    Sabotage(
        "half a source goes without a word",
        "vaultpy/ops/removing/purge.py",
        "    if drastic and not force:",
        "    if False:",
        ("tests/purge/test_purge_commands.py",),
    ),
    Sabotage(
        "a restored name may be `..`",
        "vaultpy/source/target.py",
        '    if name in _NO_NAMES or b"/" in name or b"\\0" in name:',
        '    if b"\\0" in name:',
        ("tests/source/test_target.py",),
    ),
    Sabotage(
        "a restore follows links",
        "vaultpy/source/target.py",
        "    flags = _DIRECTORY | os.O_NOFOLLOW\n",
        "    flags = _DIRECTORY\n",
        ("tests/source/test_target.py",),
    ),
    Sabotage(
        "a commit may come undone when the power goes",
        "vaultpy/index/db.py",
        '"synchronous = EXTRA",',
        '"synchronous = FULL",',
        ("tests/torture/test_found_by_campaigns.py",),
    ),
    Sabotage(
        "names steer the terminal",
        "vaultpy/cli/text.py",
        "    return _UNSAFE.sub(_escape, text)",
        "    return text",
        ("tests/cli/test_output.py",),
    ),
    Sabotage(
        "an index that was being replaced is spoiled by its journal",
        "vaultpy/ops/rebuild.py",
        "        _put_aside(path)\n        fresh.replace(path)",
        "        fresh.replace(path)",
        ("tests/torture/test_found_by_campaigns.py",),
    ),
)
