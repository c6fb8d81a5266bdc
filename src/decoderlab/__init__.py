"""decoderlab: how should what the encoder read reach the decoder?"""

__version__ = "0.1.0"
