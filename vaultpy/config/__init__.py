"""The configuration: what it says, where it lies, how it is read and written (docs/configuration.md)."""

from vaultpy.config.change import change_key
from vaultpy.config.checks import (
    check_rate,
    check_signer,
    check_source_name,
    check_source_path,
    check_store_url,
    check_tag,
)
from vaultpy.config.load import load_config
from vaultpy.config.places import default_state, find_config, new_config_path
from vaultpy.config.render import render_config, write_config
from vaultpy.config.values import CommandConfig, Compare, Config, HookConfig, SourceConfig, StoreKeyConfig

__all__ = [
    "CommandConfig",
    "Compare",
    "Config",
    "HookConfig",
    "SourceConfig",
    "StoreKeyConfig",
    "change_key",
    "check_rate",
    "check_signer",
    "check_source_name",
    "check_source_path",
    "check_store_url",
    "check_tag",
    "default_state",
    "find_config",
    "load_config",
    "new_config_path",
    "render_config",
    "write_config",
]
