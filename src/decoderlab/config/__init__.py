"""From what Hydra composed to checked settings, and what identifies a run."""
