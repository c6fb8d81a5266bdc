"""Encoders: modules that read a source. A variant exists when its YAML in conf/encoder exists."""

from decoderlab.encoders.convolutional import ConvolutionalEncoder
from decoderlab.encoders.image import ImageEncoder
from decoderlab.encoders.recurrent import RecurrentEncoder
from decoderlab.encoders.transformer import TransformerEncoder

__all__ = ["ConvolutionalEncoder", "ImageEncoder", "RecurrentEncoder", "TransformerEncoder"]
