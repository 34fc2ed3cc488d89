"""SPICE: captions as scene graphs, compared by their tuples."""
