"""What a plan would do, counted and timed before anything runs.

Beside `local`, over `stages` and everything below; `cli` is its only caller. Invariant: nothing is written to the store or the
workspace, no endpoint is called, torch is never imported; counts come from the functions that the stages themselves use.
"""
