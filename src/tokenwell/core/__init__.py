"""The pure core: what a pack, a hold, a charge and a journal entry are, and how a command changes them.

No clock, no IO, no randomness: `now` and every id are handed in.
"""
