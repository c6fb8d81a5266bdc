"""What several benchmarks of scripts/ need: timed runs, turns, tables in pages, peers."""
