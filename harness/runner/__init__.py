"""When: which runs a benchmark has, which are left, and doing them."""
