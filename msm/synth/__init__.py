"""The synthesis room: from a Model Spec to documents and demonstrations.

By language models: `tree` grows ideas from a spec and has them written, `dialogue` makes chats, `prompts` has all words that are said,
`asking` bounds and counts the questions (docs/design/synth.md). Without any: `outline` reads a spec into assertions, `compose` writes
documents from them by a documented grammar, `chats` writes opaque preference demonstrations (docs/design/synth-offline.md). `curate`
gates what was written, whoever wrote it. This module imports nothing.
"""
