"""Evaluation of models: preference items, exact log-probability margins, greedy choices, chat health, and paired statistics.

Neighbours: the evaluate stage calls `preference.evaluate_models`; whoever draws a result table calls `effects`. Nothing here knows runs,
stores or stages. Invariant: what cannot be scored is counted as unscored, never guessed.
"""
