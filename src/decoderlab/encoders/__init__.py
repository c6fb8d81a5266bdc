"""Encoders: modules that read a source. A variant exists when its YAML in conf/encoder exists."""

from decoderlab.encoders.convolutional_encoder import ConvolutionalEncoder
from decoderlab.encoders.image_encoder import ImageEncoder
from decoderlab.encoders.recurrent_encoder import RecurrentEncoder
from decoderlab.encoders.transformer_encoder import TransformerEncoder

__all__ = ["ConvolutionalEncoder", "ImageEncoder", "RecurrentEncoder", "TransformerEncoder"]
