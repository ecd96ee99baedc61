"""The synthesis room: from a Model Spec to documents and demonstrations.

`outline` reads a spec into assertions, `compose` writes documents from them by a documented grammar (docs/design/synth-offline.md),
`chats` writes opaque preference demonstrations, `curate` gates what was written. This module imports nothing.
"""
