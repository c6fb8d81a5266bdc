"""Encoders: modules that read a source. A variant exists when its YAML in conf/encoder exists."""

from decoderlab.encoders.recurrent import RecurrentEncoder

__all__ = ["RecurrentEncoder"]
