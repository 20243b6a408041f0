"""Campaign 4, "The store lies", in HTTP: a proxy between vaultpy and a real S3 server tells every lie about the first, second
and last request of every verb of every operation.

What an operation says is judged as in campaign_lies.py; retries wait in a time that only sleeping moves.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from campaigns import Campaign, Case, Outcome, Room, register
from lies_http import LASTING, LIES, VERBS
from lies_judged import Told, begin, check_claim, claim
from lies_ops import OPS, Op
from lying_proxy import Answer, LyingProxy, Plan, lying_proxy
from machinevault import MachineVault
from s3server import Server, rclone_path, serve_rclone
from scene import Scene, change_tree, make_scene

from vaultpy.store import names
from vaultpy.store.base import Body, ObjectInfo, Store
from vaultpy.store.location import S3Location
from vaultpy.store.retry import Patience, Retrier
from vaultpy.store.s3 import S3Store
from vaultpy.store.s3 import client as s3_client

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PATIENCE = Patience(first=0.5, longest=4.0, deadline=12.0, before_answer=6.0)

READ_TIMEOUT = 0.7
"""Seconds until a silent server counts as one: a black hole is waited for as often as patience lasts."""

BUCKET_FOLDER = "buckets"


@dataclass
class SleepTime:
    """Seconds that pass only while somebody sleeps."""

    now: float = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class MovedStore:
    """A bucket whose objects are as old, and whose clock says what, the scene says: what was there before keeps its age."""

    def __init__(self, store: Store, ages: dict[str, int], ahead: int) -> None:
        self.url = store.url
        self._store, self._ages, self._ahead = store, ages, ahead

    def put(self, name: str, body: Body) -> None:
        self._store.put(name, body)

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes:
        return self._store.get(name, start, length)

    def stat(self, name: str) -> ObjectInfo | None:
        found = self._store.stat(name)
        return found and self._moved(found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return map(self._moved, self._store.list(prefix))

    def delete(self, name: str) -> None:
        self._store.delete(name)

    def clock(self) -> int:
        return self._store.clock() + self._ahead

    def _moved(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, modified=info.modified + self._ahead - self._ages.get(info.name, 0))


@dataclass
class Stage:
    """What all cases share: the scene, the server, the proxy before it, and a client of each."""

    scene: Scene
    vault: MachineVault
    server: Server
    proxy: LyingProxy
    bucket: str
    folder: Path
    direct: S3Client
    client: S3Client
    stack: contextlib.ExitStack
    told: dict[Case, Told] = field(default_factory=dict)
    number: int = 0


def prepare(room: Room) -> Stage:
    if "stage" not in room.kept:
        stack = contextlib.ExitStack()
        server = stack.enter_context(serve_rclone(room.folder / "s3"))
        proxy = stack.enter_context(lying_proxy(urlsplit(server.endpoint).port or 0))
        os.environ.update(server.environment)
        direct = server.client()
        bucket = server.make_bucket(direct)
        scene = make_scene(room.folder / "machine")
        change_tree(scene)
        scene.keep()
        vault = MachineVault(scene, room.folder / "seen")
        client = make_impatient(S3Location(bucket, "", proxy.endpoint))
        folder = room.folder / "s3" / BUCKET_FOLDER / bucket
        stage = Stage(scene, vault, server, proxy, bucket, folder, direct, client, stack)
        room.kept["stage"] = stage
        stage.told = {one.case: one for one in all_lies(stage, OPS[:6:2] + OPS[10:12] if room.sample else OPS)}
    stage = room.kept["stage"]
    assert isinstance(stage, Stage)
    return stage


def close(room: Room) -> None:
    if "stage" in room.kept:
        stage = prepare(room)
        stage.vault.close()
        stage.client.close()
        stage.direct.close()
        stage.stack.close()


def make_impatient(location: S3Location) -> S3Client:
    """vaultpy's own client, but for how long it waits for an answer."""
    made = s3_client.Config
    s3_client.Config = lambda **settings: made(**settings | {"read_timeout": READ_TIMEOUT})  # type: ignore[misc]
    try:
        return s3_client.make_client(location)
    finally:
        s3_client.Config = made  # type: ignore[misc]


def all_lies(stage: Stage, ops: tuple[Op, ...]) -> Iterator[Told]:
    for op in ops:
        stage.scene.reset()
        op.prepare(stage.scene)
        move_in(stage)
        stage.proxy.arm(None)
        op.run(stage.scene)
        counts = dict(stage.proxy.seen)
        for verb in VERBS:
            count = counts.get(verb, 0)
            for hit in sorted({1, 2, count} & set(range(1, count + 1))):
                for lie in LIES:
                    if verb in lie.verbs:
                        yield Told(op, verb, hit, lie, False)
                        if lie.name in LASTING and hit <= 2:
                            yield Told(op, verb, hit, lie, True)


def move_in(stage: Stage) -> dict[str, int]:
    """A new place in the bucket holds what the scene's store holds, and the scene works there; ages of the objects."""
    scene = stage.scene
    stage.number += 1
    prefix = f"case-{stage.number}"
    objects = scene.machine.memory.objects
    stage.proxy.forget()
    for name, (data, _) in sorted(objects.items()):
        stage.direct.put_object(Bucket=stage.bucket, Key=f"{prefix}/{name}", Body=data)
    ages = {name: scene.machine.clock.now - modified for name, (_, modified) in objects.items()}
    waiting = SleepTime()
    store = S3Store(
        S3Location(stage.bucket, prefix, stage.proxy.endpoint),
        stage.client,
        retrier=Retrier(PATIENCE, clock=waiting.clock, sleep=waiting.sleep, jitter=lambda: 1.0),
    )
    scene.machine.store.inner = MovedStore(store, ages, scene.machine.clock.now - time.time_ns())
    # What a stale listing says: how the store was before the newest snapshots.
    remember_earlier(stage, prefix)
    return ages


def remember_earlier(stage: Stage, prefix: str) -> None:
    """Let the proxy see the listings that vaultpy asks for, and keep them without what came last."""
    earlier = {one.name for one in stage.scene.earlier}
    later = [name for name in stage.scene.machine.memory.objects if name not in earlier]
    for folder in (names.METADATA, names.BLOBS, names.PURGES):
        list(stage.scene.machine.store.inner.list(folder))
    with stage.proxy.listings() as listings:
        for path, answer in listings.items():
            listings[path] = without(answer, [f"{prefix}/{name}".encode() for name in later])


def without(answer: Answer, keys: list[bytes]) -> Answer:
    """A listing without some keys."""
    body = answer.body
    for key in keys:
        start = body.find(b"<Contents><Key>" + key + b"<")
        if start >= 0:
            end = body.index(b"</Contents>", start) + len(b"</Contents>")
            body = body[:start] + body[end:]
    return replace(answer, body=body, stated=-1)


def run_case(room: Room, case: Case) -> Outcome:
    stage = prepare(room)
    scene, told = stage.scene, stage.told[case]
    before = begin(scene, told.op)
    ages = move_in(stage)
    began = scene.machine.clock.now
    stage.proxy.arm(Plan(told.verb, told.hit, told.lie.tell, told.lasting))
    try:
        claimed = claim(scene, told.op, scene.machine.store.inner)
    finally:
        lied = stage.proxy.told
        stage.proxy.disarm()
    bring_back(stage, {name: began - age for name, age in ages.items()})
    if not lied:
        return Outcome(met=False)
    return check_claim(stage.vault, scene, told, claimed, before)


def bring_back(stage: Stage, times: dict[str, int]) -> None:
    """The scene's store holds what the bucket holds now."""
    top = stage.folder / f"case-{stage.number}"
    memory = stage.scene.machine.memory
    memory.objects = {
        (name := str(path.relative_to(top))): (path.read_bytes(), times.get(name, stage.scene.machine.clock.now))
        for path in top.rglob("*")
        if path.is_file()
    }


HTTP_CAMPAIGN = register(
    Campaign(
        number=4,
        name="http",
        promise="a server, or whatever is on the way to it, that lies in HTTP makes vaultpy fail, never say what is not so",
        cases=lambda room: list(prepare(room).told),
        run=run_case,
        wanted=800,
        sample=12,
        needs=lambda: None if rclone_path() else "rclone is",
        close=close,
    )
)
