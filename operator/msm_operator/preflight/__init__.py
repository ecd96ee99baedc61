"""Whether an installation can work, before anything is installed: a program of its own, which the chart runs as a hook.

`__main__` puts it together, `settings` reads what the chart says, `findings` judges what was seen, `outside` asks the store and MLflow.
Beside the operator, which it shares the store and the connection with. Invariants: it changes nothing but a probe object in the store; its
rights are to list pods of its own namespace; each finding names the value of the chart that it is about, and what to do.
"""
