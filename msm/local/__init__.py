"""The local executor: the same plan as on a cluster, run by processes on this machine.

Over `stages` and everything below; `cli` is its only caller. Invariant: what it remembers is in the store, so that a killed `msm run`
loses nothing but the seconds since the last checkpoint.
"""
