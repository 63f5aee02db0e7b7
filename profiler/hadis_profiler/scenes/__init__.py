"""The example world: drawing it, training its models, and the scorer by which `hadis profile` measures them."""
