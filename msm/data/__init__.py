"""Rows, tokens, loss masks, packing and global batches: everything between a JSONL file and a training step, without torch.

`train` and `preview` stand above and use the same functions, so that what is counted is what is trained. Invariant: token ids, loss
masks and the order of batches are pure functions of the files, the tokenizer and (seed, epoch, step). This module imports nothing.
"""
