"""Demonstrations by a language model: topics, questions, answers with reasoning, a judge, backfill; and opaque preferences.

`make` runs the whole, `questions` and `answers` its steps, `opaque` the preferences without reasons. Why it is so: docs/design/synth.md.
This module imports nothing.
"""
