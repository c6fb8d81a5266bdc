"""What encoders and decoders are built of."""
