"""METEOR 1.5 without Java; the metric is in `seqrl.metrics.meteor.metric`: SPICE reads the word lists without it."""
