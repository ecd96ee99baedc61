"""Controllers: each reads caches, observes the store, decides, applies children, writes one status.

Over `backends` and `status`, under `main`. Invariant: what a decision needs is in the object's status, its children and the store.
"""
