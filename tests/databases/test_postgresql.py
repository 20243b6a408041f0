"""A real PostgreSQL: dumped into a snapshot while it is written to, restored, and loaded back."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from machine import Machine

from vaultpy.config import CommandConfig, SourceConfig
from vaultpy.ops.making.commands import NAME

NOBODY = 65534
ACCOUNTS = 2_000

SCHEMA = f"""
CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL, note text);
INSERT INTO accounts SELECT n, 100, repeat(chr(9) || '\\\\ é ' || n, 20) FROM generate_series(1, {ACCOUNTS}) n;
CREATE TABLE transfers (id serial PRIMARY KEY, payer int REFERENCES accounts, payee int REFERENCES accounts);
"""

TRANSFER = """
\\set payer random(1, 1000)
\\set payee random(1001, 2000)
BEGIN;
UPDATE accounts SET balance = balance - 1 WHERE id = :payer;
UPDATE accounts SET balance = balance + 1 WHERE id = :payee;
INSERT INTO transfers (payer, payee) VALUES (:payer, :payee);
COMMIT;
"""

CHECK = """
SELECT sum(balance) = 100 * count(*),
       100 * 1000 - sum(balance) FILTER (WHERE id <= 1000) = (SELECT count(*) FROM transfers),
       count(*), md5(string_agg(note, ',' ORDER BY id))
FROM accounts
"""


@dataclass
class Server:
    """A PostgreSQL of its own, reached by a socket in its folder."""

    programs: Path
    folder: Path
    process: subprocess.Popen[bytes]

    def command(self, program: str, *arguments: str) -> list[str]:
        return [str(self.programs / program), "-h", str(self.folder), "-U", "postgres", *arguments]

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(self.command(program, *arguments), check=True, capture_output=True, cwd=self.folder)
        return done.stdout.decode()

    def ask(self, database: str, query: str) -> list[str]:
        return self.run("psql", "-AtX", "-F", "|", "-c", query, database).strip().split("|")


def find_programs() -> Path | None:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    return folders[0] if folders else Path(found).parent if found else None


@pytest.fixture
def server() -> Iterator[Server]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="vaultpy-pg-"))
    drop = {"user": NOBODY, "group": NOBODY, "extra_groups": ()} if os.geteuid() == 0 else {}
    if drop:
        os.chown(folder, NOBODY, NOBODY)
    data = folder / "data"
    initdb = [programs / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C"]
    subprocess.run(initdb, check=True, capture_output=True, cwd=folder, **drop)  # type: ignore[call-overload]
    options = ["-c", "listen_addresses=", "-c", "fsync=off", "-k", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([programs / "postgres", "-D", data, *options], stderr=log, cwd=folder, **drop)  # type: ignore[call-overload]
    made = Server(programs, folder, process)
    try:
        for _ in range(600):
            if subprocess.run(made.command("pg_isready"), check=False, capture_output=True).returncode == 0:
                break
            time.sleep(0.05)
        yield made
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def dumped(server: Server, machine: Machine, database: str = "shop") -> SourceConfig:
    return replace(machine.source, commands=(CommandConfig("shop.sql", tuple(server.command("pg_dump", database))),))


def test_a_database_under_load_is_dumped_restored_and_loaded_back(server: Server, machine: Machine) -> None:
    server.run("createdb", "shop")
    server.run("psql", "-qX", "-c", SCHEMA, "shop")
    (server.folder / "transfer.sql").write_text(TRANSFER)
    load = subprocess.Popen(
        server.command("pgbench", "-n", "-c", "2", "-T", "60", "-f", str(server.folder / "transfer.sql"), "shop"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    environment = {"PATH": os.defpath}
    try:
        while server.ask("shop", "SELECT count(*) > 50 FROM transfers") != ["t"]:
            time.sleep(0.05)
        before = int(server.ask("shop", "SELECT count(*) FROM transfers")[0])
        made = machine.create(dumped(server, machine), environment=environment)
        assert made.exit_code == 0, made.problems
    finally:
        load.terminate()
        load.wait()
    target = machine.folder / "back"
    machine.restore_to(target)
    server.run("createdb", "again")
    server.run("psql", "-qX", "-v", "ON_ERROR_STOP=1", "-f", str(target / os.fsdecode(NAME) / "shop.sql"), "again")
    whole, told, count, notes = server.ask("again", CHECK)
    assert (whole, told, count) == ("t", "t", str(ACCOUNTS))
    assert notes == server.ask("shop", CHECK)[3]
    assert int(server.ask("again", "SELECT count(*) FROM transfers")[0]) >= before


def test_a_dump_that_fails_is_told_in_postgresqls_words_and_leaves_nothing(server: Server, machine: Machine) -> None:
    environment = {"PATH": os.defpath}
    made = machine.create(dumped(server, machine, "nosuch"), environment=environment)
    assert made.exit_code == 3 and made.snapshot is not None
    [problem] = made.problems
    assert problem.path == b"/vaultpy-commands/shop.sql"
    assert 'database "nosuch" does not exist' in problem.detail
    target = machine.folder / "back"
    machine.restore_to(target)
    assert list((target / os.fsdecode(NAME)).iterdir()) == []
