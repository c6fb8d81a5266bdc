"""From an encoding to a target, through start, step and reorder alone."""
