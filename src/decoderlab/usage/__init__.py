"""What is done with a finished run: predictions, ensembles, new test data, export."""
