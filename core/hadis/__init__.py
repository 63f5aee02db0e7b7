"""The words of HADIS as types, the pure planning code, and the `hadis` command."""
