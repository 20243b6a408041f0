"""Store keys: made on a host that cannot open them, wrapped for the user's recipients, opened by the user's identities.

The only importer of pyrage, which knows the kinds of keys that `vaultpy.age` leaves out: SSH keys, plugins, passphrases.
"""

from vaultpy.keys.identities import IDENTITY_LIMIT, Identities, IdentityKey, load_identities, new_identity_text
from vaultpy.keys.recipients import RecipientForm, RecipientKind, check_recipient, wrap
from vaultpy.keys.storekey import FORM_LIMIT, MadeStoreKey, OpenedStoreKey, make_store_key, open_store_key

__all__ = [
    "FORM_LIMIT",
    "IDENTITY_LIMIT",
    "Identities",
    "IdentityKey",
    "MadeStoreKey",
    "OpenedStoreKey",
    "RecipientForm",
    "RecipientKind",
    "check_recipient",
    "load_identities",
    "make_store_key",
    "new_identity_text",
    "open_store_key",
    "wrap",
]
