"""Settings and source mappings: read from YAML, checked before Spark starts."""

from sparkrec.config.load import load_settings, load_source
from sparkrec.config.settings import Settings
from sparkrec.config.source import Source

__all__ = ["Settings", "Source", "load_settings", "load_source"]
