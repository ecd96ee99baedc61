"""What a run found, composed from its plan and the committed artifacts: the same for every executor.

Between the executors, which call it, and the domain parts, which it reads with. Knows a store, a plan and no process.
"""
