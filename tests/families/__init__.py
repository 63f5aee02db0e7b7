"""Tiny models of every family that tiers are known to be made of, what each can do, and the page that tells it."""
