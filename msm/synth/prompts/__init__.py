"""Every word that is said to a language model in synthesis: Jinja templates (`*.j2`) beside this file, all our own.

Neighbours: `render` fills and digests them; `msm.synth.tree` and `msm.synth.dialogue` say which values go in. This module imports nothing.
"""
