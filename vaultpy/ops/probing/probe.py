"""`store probe`: tries a store with the credentials in use, and says what its answers mean for safety.

    what may be read → put → read back, ranges → listing, clock → the second put → overwriting → delete → odd names → tidy up

Everything is put under names that the layout has for what nobody needs yet: exports without a manifest, a blob under the hash
of its own bytes, a purge record that names nothing.  So what the credentials may not delete, or a probe that died left
behind, hurts nobody, and the keeper's prune collects it.  Other names are tried only after a delete has worked.
"""

from __future__ import annotations

from collections.abc import Callable

from vaultpy.ops.probing import contract, misuse
from vaultpy.ops.probing.probed import Probed
from vaultpy.ops.probing.trying import Trying
from vaultpy.store.base import Store
from vaultpy.store.trial import Trial


def probe(
    store: Store,
    trial: Trial | None,
    *,
    clock: Callable[[], int],
    random: Callable[[int], bytes],
    short: bool = False,
) -> Probed:
    """Try a store out; what it puts it removes, or names.  `short` leaves out what only tells how well, not whether, it keeps.

    Raises StoreError only where nothing at all can be told (no such bucket, refused credentials, no answer).
    """
    trying = Trying(store, trial, clock, random)
    try:
        contract.look(trying)
        contract.use(trying)
        if not short:
            misuse.attempt(trying)
        contract.remove(trying)
        if not short:
            contract.name_oddly(trying)
    finally:
        trying.tidy()
    return trying.result()
