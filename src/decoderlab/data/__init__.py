"""What tasks are made of: splits, batches, vocabularies, files."""
