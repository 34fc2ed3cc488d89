"""One file an algorithm: its settings and its trainer, read top to bottom; `seqrl` has their names."""
