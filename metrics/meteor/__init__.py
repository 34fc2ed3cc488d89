"""METEOR 1.5: see `seqrl.metrics.meteor.metric`."""
