"""Published claims, how each is measured here, and what our runs say of it."""
