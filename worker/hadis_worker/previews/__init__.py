"""Previews: what images look like before all their steps are made."""
