"""Soak test: faults and load on real process trees. Run by `make soak`.

A server is started as users start it, on a tiny model, and exposed to the faults that servers meet. Afterwards every
accepted experiment must have finished exactly once, with the numbers of an undisturbed run.
"""
