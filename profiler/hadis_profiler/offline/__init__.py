"""The offline half: from a list of models and prompts to a CascadeProfile, in stages that can be resumed."""
