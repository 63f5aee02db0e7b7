"""What is derived from the paper's own measured data."""
