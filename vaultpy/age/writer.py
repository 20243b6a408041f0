"""Writing age files: in one go, or incrementally without knowing the size."""

from __future__ import annotations

import os
from collections.abc import Sequence

from vaultpy.age.format import FILE_KEY_SIZE, encode_header
from vaultpy.age.recipients import Random, Recipient
from vaultpy.age.stream import NONCE_SIZE, PIECE_SIZE, Buffer, payload_cipher, seal_piece
from vaultpy.errors import UsageError


class Encryptor:
    """Encrypts one file as its plaintext arrives; the results of `update` and `finish`, end to end, are the file.

    `header` is the complete header, there from the start, so that `encrypted_size(len(header), n)` is known early.
    Holds at most 64 KiB of plaintext.  For one thread at a time; encryption itself frees the GIL.
    """

    def __init__(self, recipients: Sequence[Recipient], random: Random = os.urandom) -> None:
        """A new file key and nonce from `random`, wrapped for every recipient; UsageError when there is none."""
        if not recipients:
            raise UsageError("age encryption needs at least one recipient")
        file_key, nonce = random(FILE_KEY_SIZE), random(NONCE_SIZE)
        self.header = encode_header([recipient.wrap(file_key, random) for recipient in recipients], file_key)
        self._start = [self.header + nonce]
        self._cipher = payload_cipher(file_key, nonce)
        self._counter = 0
        self._tail = bytearray()
        self._finished = False

    def update(self, data: Buffer) -> list[bytes]:
        """Take more plaintext; the ciphertext that is ready, in pieces for a gathering write.

        Full pieces are encrypted straight from `data`; only what does not fill one is copied.
        """
        self._refuse_after_finish()
        sealed, self._start = self._start, []
        view = memoryview(data).cast("B")
        # Strictly more than a piece: a full one may still be the last, and is sealed as final then.
        if self._tail and len(self._tail) + len(view) > PIECE_SIZE:
            room = PIECE_SIZE - len(self._tail)
            self._tail += view[:room]
            view = view[room:]
            sealed.append(self._seal(self._tail))
            self._tail = bytearray()
        at = 0
        if not self._tail:
            while len(view) - at > PIECE_SIZE:
                sealed.append(self._seal(view[at : at + PIECE_SIZE]))
                at += PIECE_SIZE
        self._tail += view[at:]
        return sealed

    def finish(self) -> bytes:
        """The last of the ciphertext; nothing can be added after it."""
        self._refuse_after_finish()
        self._finished = True
        return b"".join([*self._start, seal_piece(self._cipher, self._counter, self._tail, final=True)])

    def _seal(self, piece: Buffer) -> bytes:
        sealed = seal_piece(self._cipher, self._counter, piece, final=False)
        self._counter += 1
        return sealed

    def _refuse_after_finish(self) -> None:
        # Two plaintexts under one nonce would give both away.
        if self._finished:
            raise RuntimeError("age file is finished: nothing can be added to it")


def encrypt(data: bytes, recipients: Sequence[Recipient], random: Random = os.urandom) -> bytes:
    """A whole age file of `data` in memory."""
    encryptor = Encryptor(recipients, random)
    return b"".join([*encryptor.update(data), encryptor.finish()])
