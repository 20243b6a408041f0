"""vaultpy.json: round trip, and what is refused how."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from manifests import MILLISECOND, ids, sizes, times

from vaultpy.errors import DamageError, NoStore, StoreFormatError, VaultpyError
from vaultpy.model import StoreId
from vaultpy.store.identity import SIZE_LIMIT, StoreConfig, decode_store_config, encode_store_config
from vaultpy.vault import open_at

CONFIG = StoreConfig(StoreId(uuid.UUID(int=1)), 1_767_225_600_000 * MILLISECOND, 86_400)


@given(st.builds(StoreConfig, ids.map(StoreId), times, sizes))
def test_what_is_written_is_read(config: StoreConfig) -> None:
    assert decode_store_config(encode_store_config(config)) == config


def test_the_bytes_are_as_the_format_says() -> None:
    assert encode_store_config(CONFIG) == (
        b'{"format":1,"id":"00000000-0000-0000-0000-000000000001","created":"2026-01-01T00:00:00.000Z","grace":86400}\n'
    )


def test_a_newer_format_is_refused_by_name() -> None:
    with pytest.raises(StoreFormatError, match=r"vaultpy\.json is of format 2") as caught:
        decode_store_config(b'{"format":2}')
    assert caught.value.hint == "use a newer vaultpy"


@pytest.mark.parametrize(
    "change",
    [{"id": "1"}, {"id": None}, {"created": 0}, {"created": "2026"}, {"grace": -1}, {"grace": 1.5}, {"grace": "1"}],
    ids=repr,
)
def test_a_value_of_the_wrong_kind_is_damage_that_names_it(change: dict[str, object]) -> None:
    fields = json.loads(encode_store_config(CONFIG))
    with pytest.raises(DamageError, match=rf"vaultpy\.json has a bad {next(iter(change))}"):
        decode_store_config(json.dumps(fields | change).encode())


def test_something_else_of_that_name_is_damage() -> None:
    for data in (b"", b"<html>", b"[]", b"{}", b'{"id":"x"}'):
        with pytest.raises(DamageError, match=r"vaultpy\.json"):
            decode_store_config(data)


def test_unknown_fields_are_passed_over() -> None:
    fields = json.loads(encode_store_config(CONFIG))
    assert decode_store_config(json.dumps(fields | {"later": []}).encode()) == CONFIG


def test_one_of_more_than_64_kib_is_not_looked_into() -> None:
    data = encode_store_config(CONFIG)
    assert decode_store_config(data.ljust(SIZE_LIMIT)) == CONFIG
    with pytest.raises(DamageError, match="at most are allowed"):
        decode_store_config(data.ljust(SIZE_LIMIT + 1))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "expecting value: line 1 column 1 (char 0)"),
        (b"{\xff}", "byte 1 is not UTF-8"),
        (b"[" * 50_000, "it is nested too deep"),
        (b'{"format":1,"format":1}', "a name is given twice"),
    ],
    ids=len,
)
def test_what_json_it_is_not_is_said_in_our_words(data: bytes, said: str) -> None:
    with pytest.raises(DamageError) as caught:
        decode_store_config(data)
    assert caught.value.message == f"vaultpy.json is not the JSON it should be: {said}"


@pytest.mark.parametrize(
    ("data", "kind", "says", "hint"),
    [
        (
            None,
            NoStore,
            "holds no vaultpy store",
            "check the path, or mount its disk; a new one is made by: vaultpy init",
        ),
        (b"{}", DamageError, "vaultpy.json has no format", "bring vaultpy.json back from a copy of the store"),
        (b'{"format":9}', StoreFormatError, "is of format 9, and this", "use a newer vaultpy"),
    ],
)
def test_which_store_cannot_be_opened_is_said(
    tmp_path: Path, data: bytes | None, kind: type[VaultpyError], says: str, hint: str
) -> None:
    if data is not None:
        (tmp_path / "vaultpy.json").write_bytes(data)
    with pytest.raises(kind) as caught:
        open_at(tmp_path.as_uri())
    assert tmp_path.as_uri() in caught.value.message and says in caught.value.message
    assert caught.value.hint == hint
