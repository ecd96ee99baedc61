"""From a spec to documents by language models: domains, subdomains, assertions, document types, ideas, documents.

`grow` makes the tree as far as the ideas, `order` says which idea is written when and in which circumstances, `write` has the documents
written, criticised and scored, `counting` says beforehand how many calls that is. Why it is so: docs/design/synth.md. This module
imports nothing.
"""
