"""Decoders: modules that write a target. A variant exists when its YAML in conf/decoder exists."""

from decoderlab.decoders.recurrent import RecurrentDecoder

__all__ = ["RecurrentDecoder"]
