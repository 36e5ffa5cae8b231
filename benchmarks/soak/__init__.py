"""Faults and load on real process trees: what `make soak` does to Arithmoscope, and how it is judged.

A server is started as people start it, on a tiny model, and things are done to it that happen to servers. Then every
experiment that it accepted must have ended once, with the numbers of a run that nobody disturbed.
"""
