"""Measures tiers on a GPU, with models of real sizes and random weights; see docs/speed.md.

It has a tier's pipeline made fast by the worker's own code and called by the worker's own engine, and times that as the
profiler does, beside plain diffusers in the same run.
"""
