"""Whose weights an encoder begins with: settings of every encoder beside those of its class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from decoderlab.common.errors import ConfigError


class EncoderStart(NamedTuple):
    """Whose weights an encoder begins with.

    Args:
        from_run: the folder of a run, or in an identity the sha256 of its weights; None for weights
            of its own.
        frozen: whether they stay as they are.
    """

    from_run: str | None = None
    frozen: bool = False

    @classmethod
    def split(cls, settings: Mapping[str, Any]) -> tuple[dict[str, Any], EncoderStart]:
        """Return the settings of an encoder's class, and whose weights it begins with.

        Args:
            settings: of the encoder in a config, or in an identity.

        Example:
            >>> EncoderStart.split({"hidden_size": 8, "from_run": "outputs/runs/a"})
            ({'hidden_size': 8}, EncoderStart(from_run='outputs/runs/a', frozen=False))
        """
        given = {name: settings[name] for name in cls._fields if name in settings}
        return {key: settings[key] for key in settings if key not in given}, cls(**given)

    @classmethod
    def of_run(cls, record: Mapping[str, Any]) -> EncoderStart:
        """Return whose weights the encoder of a run begins with.

        Args:
            record: the config of the run as plain data.

        Raises:
            ConfigError: for values of other types, or weights that are frozen as they were drawn.
        """
        start, training = cls.split(record["encoder"])[1], record.get("training")
        if not isinstance(start.from_run, str | None) or not isinstance(start.frozen, bool):
            raise ConfigError(
                f"encoder.from_run is {start.from_run!r} and encoder.frozen {start.frozen!r}; give "
                "the folder of a run or null, and true or false"
            )
        goes_on = isinstance(training, Mapping) and training.get("from_run") is not None
        if start.frozen and start.from_run is None and not goes_on:
            raise ConfigError(
                "encoder.frozen is true, but the weights would stay as they were drawn; give "
                "encoder.from_run=RUN too, or leave it out"
            )
        return start

    def settings(self) -> dict[str, Any]:
        """Return the settings as they stand in a config; {} where there are none."""
        return self._asdict() if self.frozen or self.from_run is not None else {}
