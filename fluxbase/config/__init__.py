"""The configuration: one frozen object, file < environment < flags."""

from fluxbase.config.load import ENV_PREFIX, Loaded, load
from fluxbase.config.model import Config

__all__ = ["ENV_PREFIX", "Config", "Loaded", "load"]
