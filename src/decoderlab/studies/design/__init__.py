"""Of which runs a study consists."""
