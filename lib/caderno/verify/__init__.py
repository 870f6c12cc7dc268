"""A past result built once more from its record, and what differs.

rebuild.py     does it, in a git worktree of its own (tree.py), on checked inputs (inputs.py)
conditions.py  what around it is no longer as it was: versions, code
sameness.py    whether two outputs are the same ← tabular.py (tables) ← closeness.py (numbers); pure
models.py      whether two models predict the same ← predictions.py (in a process of its own)
verdict.py     what came out of it, in words
"""
