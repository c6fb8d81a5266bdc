"""The commands; each is thin."""
