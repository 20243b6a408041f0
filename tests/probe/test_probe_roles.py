"""The three roles of docs/s3.md, each with credentials of its own on a real server: they suffice, and nothing more is allowed.

MinIO gives temporary credentials under a policy (STS AssumeRole), which is what a user with that policy has.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from s3server import Server, serve_minio

sys.path.insert(0, str(Path(__file__).parents[1] / "e2e"))  # before its modules are imported below

from hosts import Host, make_host

DOCUMENT = (Path(__file__).parents[2] / "docs" / "s3.md").read_text()


@dataclass(frozen=True)
class Roles:
    """A bucket's URL, and for each role a machine that has that role's credentials."""

    url: str
    host: Host
    keeper: Host
    restorer: Host


@pytest.fixture(scope="module")
def roles(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Roles]:
    if shutil.which("minio") is None:
        pytest.skip("minio is not on PATH: the roles of docs/s3.md are not tried")
    folder = tmp_path_factory.mktemp("roles")
    with serve_minio(folder / "minio") as server:
        bucket = server.make_bucket()
        url = server.url(bucket, "vault")
        machines = [
            make_host(folder / name, url, assume(server, bucket, name.capitalize()))
            for name in ("host", "keeper", "restorer")
        ]
        yield Roles(url, *machines)


def assume(server: Server, bucket: str, title: str) -> dict[str, str]:
    """Credentials, for the environment, that allow what the policy under that title in docs/s3.md does."""
    section = DOCUMENT.partition(f"### {title}\n")[2]
    found = re.search(r"```json\n(.*?)```", section, re.DOTALL)
    assert found is not None
    policy = json.dumps(
        json.loads(found[1].replace("BUCKET", bucket).replace("PREFIX", "vault")), separators=(",", ":")
    )
    session = boto3.session.Session(server.access_key, server.secret_key, region_name="us-east-1")
    client = session.client("sts", endpoint_url=server.endpoint)
    try:
        made = client.assume_role(RoleArn="arn:minio:iam:::role/any", RoleSessionName=title.lower(), Policy=policy)
    finally:
        client.close()
    return {
        **server.environment,
        "AWS_ACCESS_KEY_ID": made["Credentials"]["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": made["Credentials"]["SecretAccessKey"],
        "AWS_SESSION_TOKEN": made["Credentials"]["SessionToken"],
    }


def test_each_role_is_recognised_and_has_no_more_than_it_needs(roles: Roles) -> None:
    may = {}
    for name in ("host", "keeper", "restorer"):
        probed = getattr(roles, name).must("--json", "store", "probe", "--store", roles.url).json
        assert probed["roles"] == [name]
        assert [one for one in probed["tried"] if one["verdict"] == "bad"] == []
        assert bool(probed["left"]) == (name == "host"), "a host may not delete what it puts"
        may[name] = {right for right, allowed in probed["rights"].items() if allowed}
    reads = {"list", "get metadata/", "get purges/"}
    assert may["host"] == reads | {"put metadata/", "put blobs/", "put purges/"}
    assert may["keeper"] == reads | {"put purges/", "delete purges/"}
    assert may["restorer"] == reads | {"get blobs/", "get keys/"}


def test_the_three_roles_together_make_keep_and_restore(roles: Roles, tmp_path: Path) -> None:
    """And what is not a role's work it cannot do, as one line says."""
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "file").write_text("what matters")
    host, keeper, restorer = roles.host, roles.keeper, roles.restorer
    host.init()
    first = host.create(tree)["snapshot"]
    (tree / "file").write_text("what matters now")
    host.create(tree)
    refused = host.run("snapshot", "remove", first)
    assert refused.code == 1 and "access denied" in refused.err
    assert host.run("snapshot", "verify", "--blobs").code == 1, "a host may not read content"

    keeper.must("init", "--store", roles.url, "--keeper", "--signer", signer_of(host))
    keeper.must("snapshot", "verify", "--all")
    keeper.must("snapshot", "remove", first)
    keeper.must("store", "prune")
    assert keeper.run("snapshot", "verify", "--blobs").code == 1, "a keeper may not read content"

    given = ("--store", roles.url, "--identity", host.identity)
    restorer.must("snapshot", "verify", "--all", "--deep", *given)
    back = tmp_path / "back"
    restorer.must("snapshot", "restore", "latest", back, *given)
    assert (back / tree.relative_to("/") / "file").read_text() == "what matters now"
    restorer.must("init", "--store", roles.url, "--keeper", "--signer", signer_of(host))
    refused = restorer.run("snapshot", "remove", "latest", "--force")
    assert refused.code == 1 and "access denied" in refused.err


def signer_of(host: Host) -> str:
    """The host's public key, out of the identity file that `init` wrote."""
    found = re.search(r"# signer: (.*)", host.identity.read_text())
    assert found is not None
    return found[1]
