"""One run: built, trained, tested, recorded, and opened again."""
