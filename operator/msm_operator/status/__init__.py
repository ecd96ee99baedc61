"""What a run's status says: reasons, conditions, rows, and when a change is worth a write.

Pure, over `msm.local.status`, under the controllers. Invariant: equal observations make equal status bytes.
"""
