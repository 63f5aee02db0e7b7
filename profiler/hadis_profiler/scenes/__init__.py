"""Draw the example world, train its models, and measure them (`make scenes`)."""
