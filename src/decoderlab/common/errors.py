"""What goes wrong before a run begins."""

from __future__ import annotations


class ConfigError(ValueError):
    """A config that cannot run. The message names field, value, what is allowed and the fix."""


class LaunchError(Exception):
    """A sweep that cannot go on, with a config that is right; the same command may help."""
