"""The offline half of HADIS: what is measured once per model set and GPU type."""
