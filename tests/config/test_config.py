"""The configuration: where it is found, what it takes, what it refuses and how it says so."""

from __future__ import annotations

import os
import re
import stat
import tomllib
import uuid
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vaultpy.config import (
    CommandConfig,
    Config,
    HookConfig,
    SourceConfig,
    StoreKeyConfig,
    change_key,
    default_state,
    find_config,
    load_config,
    new_config_path,
    render_config,
    write_config,
)
from vaultpy.config.values import DEFAULT_COMPRESSION
from vaultpy.errors import ConfigError
from vaultpy.model import KeyId, StoreId
from vaultpy.units import parse_duration, parse_size

STORE_ID = "0192e4a1-7c5b-7d10-9c3e-5f1a2b3c4d5e"
KEY_ID = "0192e4a1-7c5c-7e00-8a11-0c0ffee0c0de"
RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"
SIGNER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop"
FINGERPRINT = "SHA256:" + "A" * 43
TOP = f'store = "file:///srv/vault"\nstore_id = "{STORE_ID}"\nstate = "/var/lib/vaultpy/x"\n'
KEY = f'[key]\nid = "{KEY_ID}"\nrecipient = "{RECIPIENT}"\n'
HOME_SOURCE = '[sources.home]\npaths = ["/home"]\n'
DOCUMENT = Path(__file__).parents[2] / "docs" / "configuration.md"

FULL = Config(
    path=Path("/unused"),
    store="s3://bucket/prefix?endpoint=https://example.org",
    store_id=StoreId(uuid.UUID(STORE_ID)),
    state=Path("/var/lib/vaultpy/ä b"),
    key=StoreKeyConfig(KeyId(uuid.UUID(KEY_ID)), RECIPIENT),
    signers=(SIGNER, FINGERPRINT),
    sources={
        "home": SourceConfig(
            "home",
            (b"/home", "/ü \"'\\".encode()),
            ("*.tmp", "\x7f{}\n"),
            ("daily", "wörk"),
            one_file_system=True,
            exclude_caches=True,
            exclude_files=(".vaultignore", 'odd"name'),
            exclude_if_present=(".nobackup",),
            exclude_larger_than=1_000_000_001,
            exclude_nodump=True,
            birth_times=True,
            access_times=True,
            compare="no-inode",
            sqlite="as-is",
            databases=("*.db",),
            read_from=((b"/home", b'/mnt/"snap" shot'),),
            commands=(
                CommandConfig("shop.sql", ("pg_dump", "shöp \\")),
                CommandConfig("x", ("/bin/true",), 7 * 86_400),
            ),
            before=HookConfig(("sh", "-c", "lvcreate 'a' \"b\""), 30, True),
            after=HookConfig(("true",)),
            on_failure=HookConfig(("mail", "-s", "$VAULTPY_SOURCE", "root"), 86_401, True),
        ),
        "www.example.org": SourceConfig("www.example.org", (b"/",)),
        "db": SourceConfig("db", (), commands=(CommandConfig("all.sql", ("pg_dumpall",)),)),
    },
    compression=19,
    blob_size=(1 << 20) + 1,
    reuse_blind=True,
    readers=32,
    uploads=16,
    upload_limit=(1 << 20) + 1,
    download_limit=8 << 20,
    scratch=Path("/var/tmp/vaultpy"),
)


def write(folder: Path, text: str) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> ConfigError:
    path = write(folder, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert caught.value.message.startswith(f"{path}: ")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2
    return caught.value


def test_the_shortest_configuration_takes_the_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, TOP + KEY))
    assert config.store == "file:///srv/vault"
    assert str(config.store_id) == STORE_ID
    assert config.state == Path("/var/lib/vaultpy/x")
    assert config.key == StoreKeyConfig(KeyId(uuid.UUID(KEY_ID)), RECIPIENT)
    assert (config.signers, config.sources, config.keeper, config.reuse_blind) == ((), {}, False, False)
    assert (config.compression, config.blob_size, config.readers, config.uploads) == (2, 32 << 20, None, 2)
    assert (config.upload_limit, config.download_limit) == (None, None)


def test_compression_may_be_left_to_vaultpy(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, 'compression = "auto"\n' + TOP + KEY)).compression == 2


@pytest.mark.parametrize(("text", "rate"), [("16KiB", 16 << 10), ("1.5MB/s", 1_500_000), (" 2 MiB/s", 2 << 20)])
def test_a_limit_is_bytes_a_second(tmp_path: Path, text: str, rate: int) -> None:
    config = load_config(write(tmp_path, f'upload_limit = "{text}"\ndownload_limit = "{text}"\n' + TOP + KEY))
    assert (config.upload_limit, config.download_limit) == (rate, rate)


def test_a_relative_path_to_the_configuration_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, TOP + KEY)
    monkeypatch.chdir(tmp_path)
    assert load_config(Path("config.toml")).path == tmp_path / "config.toml"


@pytest.mark.parametrize("missing", ["store", "store_id", "state", "key"])
def test_a_missing_setting_is_named(tmp_path: Path, missing: str) -> None:
    text = KEY if missing != "key" else ""
    text = "".join(line + "\n" for line in TOP.splitlines() if not line.startswith(missing + " =")) + text
    assert refusal(tmp_path, text).message.endswith(f": {missing}: missing")


def test_a_keeper_needs_no_key(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "keeper = true\n" + TOP)).key is None


@pytest.mark.parametrize(
    ("text", "name", "nearest"),
    [
        ("compresion = 3\n" + TOP + KEY, "compresion", "compression"),
        ("path = '/x'\n" + TOP + KEY, "path", "scratch"),
        (TOP + KEY + "recipients = 'x'\n", "key.recipients", "recipient"),
        (TOP + KEY + HOME_SOURCE + "excludes = []\n", "sources.home.excludes", "exclude"),
        (TOP + KEY + HOME_SOURCE + "name = 'x'\n", "sources.home.name", "tags"),
    ],
)
def test_an_unknown_setting_names_the_nearest_known_one(tmp_path: Path, text: str, name: str, nearest: str) -> None:
    error = refusal(tmp_path, text)
    assert f": {name}: unknown setting" in error.message
    assert nearest in (error.hint or "")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("store = 5\n", "store: must be a string, is a number"),
        ("keeper = 1\n" + TOP, "keeper: must be true or false, is a number"),
        ("compression = true\n" + TOP + KEY, "compression: must be a whole number, is true or false"),
        ("compression = 3.0\n" + TOP + KEY, "compression: must be a whole number, is a number with a point"),
        ("compression = 0\n" + TOP + KEY, "compression: 0 is not from 1 to 19"),
        ("compression = 20\n" + TOP + KEY, "compression: 20 is not from 1 to 19"),
        ("compression = 'max'\n" + TOP + KEY, "compression: 'max' is no level"),
        ("upload_limit = 500\n" + TOP + KEY, "upload_limit: must be a string, is a number"),
        ("upload_limit = '500'\n" + TOP + KEY, "upload_limit: '500' is less than 16KiB a second"),
        ("download_limit = '16383/s'\n" + TOP + KEY, "download_limit: '16383/s' is less than 16KiB a second"),
        ("download_limit = '10Mbit'\n" + TOP + KEY, "download_limit: size '10Mbit': not a size"),
        ("readers = 0\n" + TOP + KEY, "readers: 0 is not from 1 to 32"),
        ("readers = 33\n" + TOP + KEY, "readers: 33 is not from 1 to 32"),
        ("readers = 'auto'\n" + TOP + KEY, "readers: "),
        ("uploads = 0\n" + TOP + KEY, "uploads: 0 is not from 1 to 16"),
        ("uploads = 17\n" + TOP + KEY, "uploads: 17 is not from 1 to 16"),
        ("blob_size = '1M'\n" + TOP + KEY, "blob_size: size '1M': not a size"),
        ("blob_size = 262143\n" + TOP + KEY, "blob_size: 262143 bytes is not from"),
        ("blob_size = 67108865\n" + TOP + KEY, "blob_size: 67108865 bytes is not from"),
        ("blob_size = 1979-05-27\n" + TOP + KEY, "blob_size: must be a string, is a date or time"),
        ("signers = 'x'\n" + TOP + KEY, "signers: must be a list of strings, is a string"),
        ("signers = ['ssh-rsa AAAA']\n" + TOP + KEY, "signers: 'ssh-rsa AAAA' is not a signer"),
        ("signers = ['ssh-ed25519 AAAAC3Nz']\n" + TOP + KEY, "signers: 'ssh-ed25519 AAAAC3Nz' is not a signer"),
        ("signers = ['SHA256:abc']\n" + TOP + KEY, "signers: 'SHA256:abc' is not a signer"),
        ("sources = []\n" + TOP + KEY, "sources: must be a table, is a list"),
        ("key = 'x'\n" + TOP, "key: must be a table, is a string"),
        (TOP.replace("file:///srv/vault", "/srv/vault") + KEY, "store: '/srv/vault' is not a store's URL"),
        (TOP.replace("/var/lib/vaultpy/x", "x") + KEY, "state: 'x' is not an absolute path"),
        (TOP.replace(STORE_ID, "0192e4a1") + KEY, "store_id: '0192e4a1' is not a UUID"),
        (TOP.replace(STORE_ID, STORE_ID.replace("-", "")) + KEY, "is not a UUID"),
        (TOP + KEY.replace("age1", "AGE-SECRET-KEY-1"), "is not an age recipient"),
        (TOP + KEY + "[sources]\nhome = ['/x']\n", "sources.home: must be a table, is a list"),
        (TOP + KEY + "[sources.latest]\npaths = ['/x']\n", "sources.latest: source name 'latest': not a name"),
        (TOP + KEY + "[sources.'a@b']\npaths = ['/x']\n", "sources.a@b: source name 'a@b': not a name"),
        (TOP + KEY + "[sources.home]\n", "sources.home.paths: missing"),
        (TOP + KEY + "[sources.home]\npaths = []\n", "sources.home.paths: missing"),
        (TOP + KEY + "[sources.home]\npaths = ['home']\n", "sources.home.paths: path 'home': not an absolute path"),
        (TOP + KEY + "[sources.home]\npaths = ['/a/../b']\n", "path '/a/../b': not an absolute path"),
        (TOP + KEY + HOME_SOURCE + "tags = ['a b']\n", "sources.home.tags: tag 'a b': not a tag"),
        (TOP + KEY + HOME_SOURCE + "compare = 'inode'\n", "sources.home.compare: 'inode' is not one of full, no-inode"),
        (TOP + "scratch = 'x'\n" + KEY, "scratch: 'x' is not an absolute path"),
        (TOP + KEY + HOME_SOURCE + "sqlite = 'copy'\n", "sources.home.sqlite: 'copy' is not one of consistent, as-is"),
        (TOP + KEY + HOME_SOURCE + "read_from = '/mnt'\n", "sources.home.read_from: must be a table, is a string"),
        (
            TOP + KEY + HOME_SOURCE + "read_from = {'/hom' = '/mnt'}\n",
            "read_from./hom: none of the source's paths lies",
        ),
        (TOP + KEY + HOME_SOURCE + "read_from = {'/home' = 'mnt'}\n", "path 'mnt': not an absolute path"),
        (TOP + KEY + HOME_SOURCE + "commands = ['x']\n", "sources.home.commands: must be a table, is a string"),
        (TOP + KEY + HOME_SOURCE + "[[sources.home.commands]]\nrun = ['x']\n", "sources.home.commands.1.name: missing"),
        (TOP + KEY + HOME_SOURCE + "commands = [{name = 'x'}]\n", "commands.1.run: names no program"),
        (TOP + KEY + HOME_SOURCE + "commands = [{name = 'a/b', run = ['x']}]\n", "1.name: 'a/b' is not a file's name"),
        (TOP + KEY + HOME_SOURCE + "commands = [{name = '..', run = ['x']}]\n", "1.name: '..' is not a file's name"),
        (
            TOP + KEY + HOME_SOURCE + "commands = [{name = 'x', run = 'x y'}]\n",
            "1.run: must be a list of strings, is a",
        ),
        (
            TOP + KEY + HOME_SOURCE + "commands = [{name = 'x', run = ['x']}, {name = 'x', run = ['y']}]\n",
            "sources.home.commands.2.name: 'x' is the name of two commands",
        ),
        (TOP + KEY + HOME_SOURCE + "before = ['x']\n", "sources.home.before: must be a table, is a list"),
        (TOP + KEY + HOME_SOURCE + "after = {run = []}\n", "sources.home.after.run: names no program"),
        (TOP + KEY + HOME_SOURCE + "before = {run = ['x'], timeout = 5}\n", "before.timeout: must be a string, is a"),
        (TOP + KEY + HOME_SOURCE + "before = {run = ['x'], timeout = '0s'}\n", "timeout: '0s' is not from 1s to 7d"),
        (TOP + KEY + HOME_SOURCE + "before = {run = ['x'], timeout = '8d'}\n", "timeout: '8d' is not from 1s to 7d"),
        (TOP + KEY + HOME_SOURCE + "before = {run = ['x'], must = true}\n", "sources.home.before.must: unknown"),
        ("store = \n", "not TOML: invalid value (at line 1"),
        ("a = " + "[" * 5000, "not"),
    ],
)
def test_a_wrong_value_is_named_with_what_it_should_be(tmp_path: Path, text: str, says: str) -> None:
    assert says in refusal(tmp_path, text).message


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b'store = "\xff"')
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_config(path)


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: is a directory"):
        load_config(tmp_path)


def test_paths_lose_doubled_and_trailing_slashes(tmp_path: Path) -> None:
    text = TOP + KEY + '[sources.all]\npaths = ["//", "/a//b/"]\n'
    assert load_config(write(tmp_path, text)).sources["all"].paths == (b"/", b"/a/b")


def test_a_hook_before_must_succeed_unless_it_says_that_it_need_not(tmp_path: Path) -> None:
    text = TOP + KEY + HOME_SOURCE + "before = {run = ['x']}\nafter = {run = ['x']}\non_failure = {run = ['x']}\n"
    home = load_config(write(tmp_path, text)).sources["home"]
    assert home.before and home.before.must_succeed
    assert home.after and not home.after.must_succeed
    assert home.on_failure and not home.on_failure.must_succeed
    text = TOP + KEY + HOME_SOURCE + "before = {run = ['x'], must_succeed = false}\n"
    relaxed = load_config(write(tmp_path, text)).sources["home"].before
    assert relaxed and not relaxed.must_succeed


def test_a_source_of_commands_alone_needs_no_paths(tmp_path: Path) -> None:
    text = TOP + KEY + "[[sources.db.commands]]\nname = 'a.sql'\nrun = ['pg_dumpall']\ntimeout = '2d'\n"
    source = load_config(write(tmp_path, text)).sources["db"]
    assert source.paths == () and source.commands == (CommandConfig("a.sql", ("pg_dumpall",), 172_800),)


def loaded(folder: Path, config: Config) -> Config:
    return load_config(write(folder, render_config(config)))


def test_what_is_rendered_loads_back_equal(tmp_path: Path) -> None:
    assert loaded(tmp_path, FULL) == replace(FULL, path=tmp_path / "config.toml")


def test_a_rendered_keeper_loads_back_equal(tmp_path: Path) -> None:
    keeper = replace(FULL, path=tmp_path / "config.toml", key=None, keeper=True, sources={}, blob_size=32 << 20)
    assert loaded(tmp_path, keeper) == keeper


@given(
    exclude=st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3).map(tuple),
    path=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0."), min_size=1),
    store=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n"), min_size=1).map("s3://".__add__),
)
@settings(max_examples=60)
def test_any_text_survives_rendering(
    tmp_path_factory: pytest.TempPathFactory, exclude: tuple[str, ...], path: str, store: str
) -> None:
    source = SourceConfig("a", (f"/{path}".encode(),), exclude)
    folder = tmp_path_factory.mktemp("rendered")
    config = replace(FULL, path=folder / "config.toml", store=store, sources={"a": source})
    assert loaded(folder, config) == config


def test_a_path_that_is_not_utf8_is_not_rendered() -> None:
    with pytest.raises(ConfigError, match="not UTF-8"):
        render_config(replace(FULL, sources={"a": SourceConfig("a", (b"/\xff",))}))


def test_every_setting_is_in_the_rendered_file_or_commented_out_with_its_default() -> None:
    text = render_config(replace(FULL, sources={}))
    for kind, own in ((Config, ("path", "key", "sources")), (StoreKeyConfig, ()), (SourceConfig, ("name",))):
        for name in (field.name for field in fields(kind) if field.name not in own):
            assert re.search(rf"^#?{name} = ", text, re.MULTILINE), name
    example = text[text.index("#[sources.home]") :].replace("\n#", "\n")[1:]
    assert set(tomllib.loads(example)["sources"]["home"]) == {f.name for f in fields(SourceConfig)} - {"name"}


def test_writing_makes_the_folder_and_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "config.toml"
    write_config(path, "text")
    assert path.read_text() == "text"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert os.listdir(path.parent) == ["config.toml"]


def test_writing_never_replaces_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "old")
    with pytest.raises(ConfigError, match="is there already"):
        write_config(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["config.toml"]


def test_writing_works_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_links(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    write_config(tmp_path / "config.toml", "text")
    assert os.listdir(tmp_path) == ["config.toml"]
    with pytest.raises(ConfigError, match="is there already"):
        write_config(tmp_path / "config.toml", "other")
    assert (tmp_path / "config.toml").read_text() == "text"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        write_config(tmp_path / "file" / "config.toml", "text")


def test_a_named_configuration_wins_over_every_other(tmp_path: Path) -> None:
    explicit, from_env = tmp_path / "a", tmp_path / "b"
    explicit.touch()
    from_env.touch()
    assert find_config(explicit, {"VAULTPY_CONFIG": str(from_env), "HOME": str(tmp_path)}) == explicit
    assert find_config(None, {"VAULTPY_CONFIG": str(from_env), "HOME": str(tmp_path)}) == from_env


@pytest.mark.parametrize(("explicit", "env"), [("/no/such", {}), (None, {"VAULTPY_CONFIG": "/no/such"})])
def test_a_named_configuration_that_is_not_there_is_not_replaced_by_another(
    tmp_path: Path, explicit: str | None, env: dict[str, str]
) -> None:
    own = tmp_path / ".config/vaultpy/config.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    with pytest.raises(ConfigError, match="/no/such: no such configuration file"):
        find_config(Path(explicit) if explicit else None, env | {"HOME": str(tmp_path)})


def test_the_users_place_follows_the_xdg_rules(tmp_path: Path) -> None:
    own = tmp_path / ".config/vaultpy/config.toml"
    own.parent.mkdir(parents=True)
    own.touch()
    assert find_config(None, {"HOME": str(tmp_path)}) == own
    assert find_config(None, {"HOME": "/nowhere", "XDG_CONFIG_HOME": str(tmp_path / ".config")}) == own
    assert find_config(None, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": "relative"}) == own


def test_no_configuration_says_where_it_was_looked_for_and_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"{tmp_path}/.config/vaultpy/config.toml and /etc/vaultpy") as caught:
        find_config(None, {"HOME": str(tmp_path)})
    assert "vaultpy init" in (caught.value.hint or "")


def test_a_configuration_that_cannot_be_looked_at_is_not_one_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / ".config").symlink_to(".config")
    own = tmp_path / ".config/vaultpy/config.toml"
    with pytest.raises(ConfigError) as caught:
        find_config(None, {"HOME": str(tmp_path)})
    assert f"looked for {own} (too many levels of symbolic links) and /etc" in caught.value.message
    for explicit, env in ((own, {}), (None, {"VAULTPY_CONFIG": str(own)})):
        with pytest.raises(ConfigError) as caught:
            find_config(explicit, env)
        assert caught.value.message == f"{own}: cannot be read: too many levels of symbolic links"


def test_init_writes_where_the_search_begins_and_refuses_what_is_there(tmp_path: Path) -> None:
    assert new_config_path(None, {"HOME": str(tmp_path)}) == tmp_path / ".config/vaultpy/config.toml"
    assert new_config_path(None, {}) == Path("/etc/vaultpy/config.toml")
    assert new_config_path(tmp_path / "x", {"VAULTPY_CONFIG": "/y"}) == tmp_path / "x"
    assert new_config_path(None, {"VAULTPY_CONFIG": "/y/z"}) == Path("/y/z")
    (tmp_path / "x").symlink_to("/nowhere/at/all")
    with pytest.raises(ConfigError, match="is there already"):
        new_config_path(tmp_path / "x", {})


@pytest.mark.parametrize(
    ("env", "euid", "state"),
    [
        ({"HOME": "/home/ada"}, 1000, "/home/ada/.local/state/vaultpy"),
        ({"HOME": "/home/ada", "XDG_STATE_HOME": "/s"}, 1000, "/s/vaultpy"),
        ({"HOME": "/root"}, 0, "/var/lib/vaultpy"),
        ({"HOME": "/root", "XDG_STATE_HOME": "/s"}, 0, "/s/vaultpy"),
        ({"HOME": "/root", "XDG_STATE_HOME": "s"}, 0, "/var/lib/vaultpy"),
        ({}, 0, "/var/lib/vaultpy"),
    ],
)
def test_the_state_has_its_place(env: dict[str, str], euid: int, state: str) -> None:
    assert default_state(StoreId(uuid.UUID(STORE_ID)), env, euid) == Path(state) / STORE_ID


def test_a_user_without_a_home_has_no_place_for_the_state() -> None:
    with pytest.raises(ConfigError, match="neither XDG_STATE_HOME nor HOME"):
        default_state(StoreId(uuid.UUID(STORE_ID)), {"HOME": ""}, 1000)


def documented() -> dict[str, dict[str, str]]:
    """The settings and defaults in the document's tables, by heading."""
    tables: dict[str, dict[str, str]] = {}
    heading = ""
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            heading = line
        elif match := re.match(r"\| `(\w+)` \| ([^|]+) \|", line):
            tables.setdefault(heading, {})[match[1]] = match[2].strip("` ")
    return tables


@pytest.mark.parametrize(
    ("heading", "kind", "but"),
    [
        ("## The store and this host", Config, "path"),
        ("## `[key]`", StoreKeyConfig, None),
        ("## `[sources.NAME]`", SourceConfig, "name"),
        ("## `[[sources.NAME.commands]]`", CommandConfig, None),
        ("## `[sources.NAME.before]`, `after`, `on_failure`", HookConfig, None),
    ],
)
def test_every_setting_is_documented_with_its_default(heading: str, kind: type, but: str | None) -> None:
    table = documented()[heading]
    settings_of = {field.name: field.default for field in fields(kind) if field.name != but}
    assert set(table) == set(settings_of)
    for name, default in settings_of.items():
        if default is not MISSING:
            assert table[name] == "none" if default is None else read_default(name, table[name]) == default, name


def read_default(name: str, text: str) -> object:
    """A default as the document shows it, as the value that the dataclass holds."""
    shown = tomllib.loads(f"x = {text}")["x"]
    if name == "compression" and shown == "auto":
        return DEFAULT_COMPRESSION
    if name == "blob_size":
        return parse_size(shown)
    if name == "timeout":
        return parse_duration(shown).seconds
    return tuple(shown) if isinstance(shown, list | dict) else shown


def test_the_documents_example_loads(tmp_path: Path) -> None:
    example = re.search(r"```toml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert example
    config = load_config(write(tmp_path, example[1]))
    assert list(config.sources) == ["home"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('"" = 1\n' + TOP + KEY, '"": unknown setting'),
        (TOP + KEY + "[sources.'']\npaths = ['/a']\n", "sources.\"\": source name '': not a name"),
    ],
)
def test_an_empty_name_is_seen(tmp_path: Path, text: str, says: str) -> None:
    assert refusal(tmp_path, text).message.startswith(f"{tmp_path}/config.toml: {says}")


@pytest.mark.parametrize(
    "text",
    [
        TOP + f"key = {{id = '{uuid.UUID(int=8)}', recipient = 'age1x'}}\n",
        TOP + '[sources.odd]\npaths = ["/odd"]\nexclude = ["""\n[key]\nid = "a"\nrecipient = "b"\n"""]\n' + KEY,
        TOP + KEY + "nonsense = 1\n",
    ],
    ids=["inline", "in a string", "broken"],
)
def test_a_key_that_cannot_be_put_in_is_told_by_the_files_own_name_and_is_not_lost(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    new = uuid.UUID(int=9)
    with pytest.raises(ConfigError) as caught:
        change_key(path, StoreKeyConfig(KeyId(new), "age1new"))
    assert caught.value.message == f"{path}: its [key] cannot be changed by program"
    assert caught.value.hint == f'the new key is made; write into [key]: id = "{new}" and recipient = "age1new"'
    assert [(one.name, one.read_text()) for one in tmp_path.iterdir()] == [("config.toml", text)]
