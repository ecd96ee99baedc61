"""What stands for an attempt or an endpoint in the cluster: rendering it, and reading back how it is.

Pure functions between `msm.plan` and Kubernetes objects; the controllers apply and delete. Invariant: names depend on the run's uid, the
stage and the attempt alone, so that applying twice makes nothing twice.
"""
