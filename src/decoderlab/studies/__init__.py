"""Studies: plans of runs, their statistics and their reports. Models know nothing of them."""
