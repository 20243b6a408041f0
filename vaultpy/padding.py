"""Padmé: sizes that say little (Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and Communication with
PURBs", PoPETs 2019, section 4)."""

from __future__ import annotations


def padme(size: int) -> int:
    """The least size of Padmé's that holds `size` bytes (0 or more): at most 12 % above it, less as sizes grow.

    A size with exponent E keeps as many leading bits as it takes to write E, so a size up to 2^E tells O(log E) bits.
    """
    if size < 2:
        return size
    exponent = size.bit_length() - 1
    cleared = exponent - exponent.bit_length()
    mask = (1 << cleared) - 1
    return (size + mask) & ~mask
