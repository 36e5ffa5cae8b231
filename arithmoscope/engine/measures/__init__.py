"""Statistics over effects: metrics, intervals, key components, knock-out curves, random controls, rank correlation."""
