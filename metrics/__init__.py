"""Metrics of text: strings, numpy and token ids only."""
