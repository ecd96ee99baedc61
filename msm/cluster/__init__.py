"""Runs in a cluster, as their user sees them: submitted, watched, waited for, stopped, their pods' logs read.

Beside `local` and `preview`, under `cli`. `connection` speaks with the API server, `refusals` makes its words ours, `objects` are typed
views of what it answers, `runs` and `pods` are the requests, `local_inputs` reads what a cluster cannot, `submission` uploads that and
applies a file, `waiting` decides when a run has come where it was to come. Invariant: nothing here depends on the operator's code; the
resource, its status and a few labels are all that both know. The official client is imported when a connection is made: it costs seconds.
"""
