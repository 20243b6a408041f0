"""What can be tried on a store beyond the contract of base.py: what somebody with these credentials could do who keeps to no
contract, and what the server does where the contract never looks.

For `ops.probing` alone; nothing else may put without a condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from vaultpy.store.base import ObjectInfo


@dataclass(frozen=True, slots=True)
class LockRule:
    """A bucket's Object Lock: the `mode` (GOVERNANCE or COMPLIANCE) and `days` of its default retention, None where it has
    locks and no default."""

    mode: str | None
    days: int | None


class Trial(Protocol):
    """Ways to try a store out.  Every method raises StoreError (or one of its kinds) and nothing else."""

    def overwrite(self, name: str, body: bytes) -> None:
        """Put without any condition: replaces what is there, where the server lets it."""

    def list_in_pages(self, prefix: str, keys: int) -> Iterator[ObjectInfo]:
        """The same as the store's `list`, by pages of so many names."""

    def lock_rule(self) -> LockRule | None:
        """The bucket's Object Lock; None where it has none, or the server does not know what that is."""
