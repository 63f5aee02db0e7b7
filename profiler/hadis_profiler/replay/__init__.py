"""Replay: the router's own dispatch code and the control loop on a virtual clock, with a latency table for workers."""
