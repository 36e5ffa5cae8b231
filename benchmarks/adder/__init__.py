"""Training of `adder`, the small model that can add: its vocabulary, its lines, its exam and its model card."""
