"""Chaos on one machine: real kills of real processes, and crashes injected between any two steps of a warm process."""
