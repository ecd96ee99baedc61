"""Inputs of a run, resolved once: an address goes in, {identity, location} comes out.

`addresses` parses, `digests` computes, `inputs` decides for one input and `run` for all; `wheels`, `hub` and `registry` are the clients of
the outside, injected through `clients`, made by `outside`. Below: `plan` (whose `Resolution` this makes) and `api`. Beside: `store`,
reached only through injected functions. Invariant: an identity is a content digest or a repository at a commit, never a name that may
move. Importing this room imports no client library.
"""

from msm.resolve.clients import Clients
from msm.resolve.inputs import resolve_corpus, resolve_file, resolve_model, resolve_text
from msm.resolve.outside import local_clients
from msm.resolve.run import resolve_run

__all__ = ["Clients", "local_clients", "resolve_corpus", "resolve_file", "resolve_model", "resolve_run", "resolve_text"]
