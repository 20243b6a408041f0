"""Store keys: made without keeping the secret, opened by every kind of identity, and swapped files noticed."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pyrage  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairs import PASSPHRASE, Pair, make_hybrid, make_x25519

from vaultpy.age import X25519Identity, decrypt, encrypt, parse_recipient, stanza_types
from vaultpy.age.bech32 import encode_bech32
from vaultpy.errors import DamageError, NoIdentity, UsageError
from vaultpy.keys import FORM_LIMIT, Identities, MadeStoreKey, load_identities, make_store_key, open_store_key, wrap
from vaultpy.model import KeyId
from vaultpy.signature import SigningKey

KEY_ID = KeyId(uuid.UUID("0198c5f0-0000-7000-8000-000000000001"))
OTHER_ID = KeyId(uuid.UUID("0198c5f0-0000-7000-8000-000000000002"))
SIGNER = SigningKey.generate().public_text()
KINDS = ["x25519", "hybrid", "ed25519", "rsa"]
MINE, STRANGER = make_x25519(), make_x25519()


def make(*pairs: Pair, key_id: KeyId = KEY_ID, signer: str | None = SIGNER) -> MadeStoreKey:
    return make_store_key([pair.recipient for pair in pairs], signer, key_id, os.urandom)


def load(*pairs: Pair) -> Identities:
    loaded = [load_identities(pair.identity, None) for pair in pairs]
    return Identities(tuple(key for one in loaded for key in one.keys), ())


def secret_text(made: MadeStoreKey) -> bytes:
    return open_store_key(made.wrapped, load(MINE), made.id, made.recipient).text


@pytest.mark.parametrize("kind", KINDS)
def test_an_identity_of_every_kind_opens_what_was_made_for_its_recipient(
    kind: str, make_pair: Callable[[str], Pair]
) -> None:
    pair = make_pair(kind)
    made = make(STRANGER, pair)
    opened = open_store_key(made.wrapped, load(pair), KEY_ID, made.recipient)
    assert (opened.id, opened.recipient, opened.signers) == (KEY_ID, made.recipient, (SIGNER,))
    assert opened.identity.recipient().to_text() == made.recipient
    assert decrypt(encrypt(b"blob", [parse_recipient(made.recipient)]), [opened.identity]) == b"blob"


def test_the_secret_half_is_an_identity_file_that_names_the_key_and_its_signer() -> None:
    made = make(MINE)
    opened = open_store_key(made.wrapped, load(MINE), KEY_ID, made.recipient)
    lines = opened.text.decode().split("\n")
    assert lines == [f"# vaultpy store key {KEY_ID}", f"# signer: {SIGNER}", opened.identity.to_text(), ""]
    assert load_identities(opened.text, None).signers == (SIGNER,)
    assert opened.identity.to_text() not in repr(opened)


def test_there_is_one_form_for_each_recipient_and_one_for_one_given_twice() -> None:
    made = make(MINE, STRANGER, MINE)
    assert len(made.wrapped) == 2
    for form, pair in zip(made.wrapped, (MINE, STRANGER), strict=True):
        assert "X25519" in stanza_types(form)
        assert open_store_key([form], load(pair), KEY_ID, made.recipient).recipient == made.recipient


def test_a_store_key_without_a_signer_vouches_for_nobody() -> None:
    made = make(MINE, signer=None)
    assert open_store_key(made.wrapped, load(MINE), KEY_ID, made.recipient).signers == ()


def test_the_same_randomness_makes_the_same_key_and_other_randomness_another() -> None:
    one, two = (make_store_key([MINE.recipient], None, KEY_ID, bytes) for _ in range(2))
    assert one.recipient == two.recipient != make(MINE).recipient


@pytest.mark.parametrize("recipients", [[], ["alice"], [MINE.recipient, "alice"]], ids=["none", "bad", "one bad"])
def test_no_key_is_made_without_recipients_that_all_work(recipients: list[str]) -> None:
    with pytest.raises(UsageError):
        make_store_key(recipients, SIGNER, KEY_ID, os.urandom)


def test_a_malformed_signer_makes_no_key() -> None:
    with pytest.raises(UsageError, match="not a signer"):
        make_store_key([MINE.recipient], f"{SIGNER}\n# signer: {SIGNER[:-1]}", KEY_ID, os.urandom)


@pytest.mark.skipif(shutil.which("age") is None, reason="the age program is not installed")
@pytest.mark.parametrize("kind", ["x25519", "ed25519", "rsa"])
def test_the_age_program_opens_a_form_and_its_content_opens_the_store(
    kind: str, make_pair: Callable[[str], Pair], tmp_path: Path
) -> None:
    pair = make_pair(kind)
    made = make(pair)
    (tmp_path / "identity").touch(mode=0o600)
    (tmp_path / "identity").write_bytes(pair.identity)
    (tmp_path / "blob").write_bytes(encrypt(b"blob", [parse_recipient(made.recipient)]))
    text = age("-d", "-i", str(tmp_path / "identity"), data=made.wrapped[0])
    assert age("-d", "-i", "-", str(tmp_path / "blob"), data=text) == b"blob"


@pytest.mark.skipif(shutil.which("age") is None, reason="the age program is not installed")
def test_a_form_that_the_age_program_made_opens() -> None:
    made = make(MINE)
    form = age("-r", MINE.recipient, data=secret_text(made))
    assert open_store_key([form], load(MINE), KEY_ID, made.recipient).recipient == made.recipient


def age(*arguments: str, data: bytes) -> bytes:
    return subprocess.run(["age", *arguments], input=data, capture_output=True, check=True, timeout=30).stdout


def test_another_recipient_is_added_with_the_opened_text() -> None:
    made = make(MINE)
    form = wrap(secret_text(made), STRANGER.recipient)
    assert open_store_key([form], load(STRANGER), KEY_ID, made.recipient).signers == (SIGNER,)


def test_no_identity_that_fits_is_exit_twelve_with_a_way_out() -> None:
    made = make(MINE)
    with pytest.raises(NoIdentity, match=f"store key {KEY_ID}") as caught:
        open_store_key(made.wrapped, load(STRANGER), KEY_ID, made.recipient)
    assert caught.value.exit_code == 12
    assert "--identity" in (caught.value.hint or "")


@pytest.mark.parametrize("kind", KINDS)
def test_a_stranger_of_any_kind_does_not_open(kind: str, make_pair: Callable[[str], Pair]) -> None:
    made = make(MINE, make_hybrid())
    with pytest.raises(NoIdentity):
        open_store_key(made.wrapped, load(make_pair(kind) if kind != "x25519" else STRANGER), KEY_ID, made.recipient)


@pytest.mark.parametrize("known", [True, False], ids=["public half known", "not known"])
def test_junk_beside_good_forms_does_not_make_a_wrong_identity_damage(
    known: bool, locked_identity: tuple[Pair, bytes]
) -> None:
    made = make(MINE)
    for junk in (b"", b"junk", locked_identity[1], b"age-encryption.org/v1\n" + b"x" * FORM_LIMIT):
        with pytest.raises(NoIdentity, match="none of the identities given"):
            open_store_key([junk, *made.wrapped], load(STRANGER), KEY_ID, made.recipient if known else None)


def test_a_damaged_form_for_the_identity_given_is_damage_whatever_lies_beside_it() -> None:
    made = make(STRANGER, MINE)
    with pytest.raises(DamageError, match="form 2"):
        open_store_key([made.wrapped[0], made.wrapped[1][:-1]], load(MINE), KEY_ID, made.recipient)


def test_a_file_of_another_store_key_is_noticed() -> None:
    made, other = make(MINE), make(MINE, key_id=OTHER_ID)
    for recipient in (made.recipient, None):
        with pytest.raises(DamageError, match="swapped"):
            open_store_key(other.wrapped, load(MINE), KEY_ID, recipient)


def test_another_secret_under_the_same_id_is_noticed() -> None:
    made, forged = make(MINE), make(MINE)
    with pytest.raises(DamageError, match="swapped"):
        open_store_key(forged.wrapped, load(MINE), KEY_ID, made.recipient)


def test_a_forged_form_beside_the_true_one_locks_nobody_out_where_the_public_half_is_known() -> None:
    made, forged = make(MINE), make(MINE)
    opened = open_store_key([*forged.wrapped, *made.wrapped], load(MINE), KEY_ID, made.recipient)
    assert opened.recipient == made.recipient


@pytest.mark.parametrize("forged_first", [True, False])
def test_a_forged_form_beside_the_true_one_is_noticed_where_it_is_not(forged_first: bool) -> None:
    forms = [*make(MINE).wrapped, *make(MINE).wrapped]
    with pytest.raises(DamageError, match="differ"):
        open_store_key(forms[::-1] if forged_first else forms, load(MINE), KEY_ID, None)


def test_without_the_public_half_forms_that_agree_open() -> None:
    made = make(MINE, STRANGER)
    opened = open_store_key(made.wrapped, load(MINE, STRANGER), KEY_ID, None)
    assert opened.recipient == made.recipient


def marked(*lines: str) -> bytes:
    return "\n".join([f"# vaultpy store key {KEY_ID}", *lines, ""]).encode()


SECRET = X25519Identity.from_secret(bytes(range(32))).to_text()
PLUGIN_SECRET = encode_bech32("age-plugin-toy-", b"x").upper()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff",
        b"hello",
        f"{SECRET}\n".encode(),
        marked(),
        marked(SECRET, SECRET),
        marked(f"# vaultpy store key {KEY_ID}", SECRET),
        marked(f"# vaultpy store key {OTHER_ID}", SECRET),
        marked("# signer: nobody", SECRET),
        marked(SECRET[:-1]),
        marked(PLUGIN_SECRET),
        marked(SECRET).replace(b"key 0", b"key  0"),
    ],
)
@pytest.mark.usefixtures("plugin")
def test_a_form_that_holds_something_else_is_damage(text: bytes) -> None:
    with pytest.raises(DamageError):
        open_store_key([wrap(text, MINE.recipient)], load(MINE), KEY_ID, None)


def test_a_plugin_is_not_chosen_by_what_the_store_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyrage.plugin, "IdentityPluginV1", lambda *_: pytest.fail("a plugin was prepared"))
    with pytest.raises(DamageError, match="no store key"):
        open_store_key([wrap(marked(PLUGIN_SECRET), MINE.recipient)], load(MINE), KEY_ID, None)


def test_comments_of_a_later_version_are_passed_over() -> None:
    form = wrap(marked("# colour: blue", SECRET), MINE.recipient)
    assert open_store_key([form], load(MINE), KEY_ID, None).identity.to_text() == SECRET


def test_a_passphrase_stanza_is_refused_before_anything_tries_it(
    locked_identity: tuple[Pair, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def tried(*_: object) -> bytes:
        raise AssertionError("a form with an scrypt stanza reached pyrage")

    monkeypatch.setattr(pyrage, "decrypt", tried)
    monkeypatch.setattr(pyrage.passphrase, "decrypt", tried)
    with pytest.raises(DamageError, match="not accepted from a store"):
        open_store_key([locked_identity[1]], load(MINE), KEY_ID, None)


def test_an_identity_behind_a_passphrase_opens_a_store_key(locked_identity: tuple[Pair, bytes]) -> None:
    pair, locked = locked_identity
    made = make(pair)
    identities = load_identities(locked, lambda: PASSPHRASE)
    assert open_store_key(made.wrapped, identities, KEY_ID, made.recipient).recipient == made.recipient


def test_refused_forms_do_not_hide_the_good_one(locked_identity: tuple[Pair, bytes]) -> None:
    made = make(MINE)
    bad = [b"", b"junk", locked_identity[1], made.wrapped[0][:-1], b"age-encryption.org/v1\n" + b"x" * FORM_LIMIT]
    for recipient in (made.recipient, None):
        assert open_store_key([*bad, *made.wrapped], load(MINE), KEY_ID, recipient).recipient == made.recipient


@pytest.mark.parametrize(("extra", "opens"), [(-1, True), (0, True), (1, False)])
def test_a_form_is_at_most_64_kib(extra: int, opens: bool) -> None:
    text = marked(SECRET)
    overhead = len(encrypt(text, [parse_recipient(MINE.recipient)]))
    comment = "# " + "x" * (FORM_LIMIT - overhead - 3 + extra)
    form = encrypt(marked(comment, SECRET), [parse_recipient(MINE.recipient)])
    assert len(form) == FORM_LIMIT + extra
    if opens:
        assert open_store_key([form], load(MINE), KEY_ID, None).identity.to_text() == SECRET
    else:
        with pytest.raises(DamageError, match="65536"):
            open_store_key([form], load(MINE), KEY_ID, None)


def test_no_forms_at_all_is_damage() -> None:
    with pytest.raises(DamageError, match="no form"):
        open_store_key([], load(MINE), KEY_ID, None)


@pytest.mark.parametrize("kind", ["x25519", "ed25519"])
def test_a_changed_byte_never_opens_to_something_else(kind: str, make_pair: Callable[[str], Pair]) -> None:
    pair = make_pair(kind)
    made, identities = make(pair), load(pair)
    form = made.wrapped[0]
    for position in range(0, len(form), 7):
        changed = bytearray(form)
        changed[position] ^= 1
        with pytest.raises((DamageError, NoIdentity)):
            open_store_key([bytes(changed)], identities, KEY_ID, None)


def test_a_cut_payload_is_damage_for_an_ssh_key_too(make_pair: Callable[[str], Pair]) -> None:
    pair = make_pair("ed25519")
    made = make(pair)
    with pytest.raises(DamageError, match="SSH key"):
        open_store_key([made.wrapped[0][:-1]], load(pair), KEY_ID, made.recipient)


@settings(max_examples=60)
@given(
    st.binary(max_size=300),
    st.sampled_from([b"", b"age-encryption.org/v1\n", b"age-encryption.org/v1\n-> ssh-ed25519 "]),
)
def test_junk_is_damage_and_nothing_else(junk: bytes, start: bytes) -> None:
    with pytest.raises(DamageError):
        open_store_key([start + junk], load(MINE), KEY_ID, None)


TOY = encode_bech32("age1toy", b"a toy")
TOY_SECRET = encode_bech32("age-plugin-toy-", b"a toy").upper().encode()


@pytest.mark.usefixtures("plugin")
def test_a_plugin_opens_is_asked_its_pin_and_its_messages_are_told() -> None:
    made = make_store_key([STRANGER.recipient, TOY], SIGNER, KEY_ID, os.urandom)
    told: list[str] = []
    identities = load_identities(TOY_SECRET, lambda: "1234", told.append)
    assert open_store_key(made.wrapped, identities, KEY_ID, made.recipient).signers == (SIGNER,)
    assert "touch the toy" in "".join(told)


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize("ask", [None, lambda: "0000"], ids=["nobody to ask", "wrong PIN"])
def test_a_plugin_that_does_not_open_is_no_damage(ask: Callable[[], str] | None) -> None:
    made = make_store_key([TOY], SIGNER, KEY_ID, os.urandom)
    with pytest.raises(NoIdentity):
        open_store_key(made.wrapped, load_identities(TOY_SECRET, ask), KEY_ID, made.recipient)
