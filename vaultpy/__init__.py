"""Encrypted, deduplicating snapshots to storage that need not be trusted."""

__version__ = "0.1.0"
