"""What a benchmark file says: YAML, its schema, the benchmarks in it."""
