"""Asking language models: one request in, one answer or one named reason why not.

Below `synth` and `evals`, beside `data`. Neighbours: callers build requests and read answers, nothing else; `ask` is the seam, the client
and the journal implement it. Importing this room imports no client library.
"""
