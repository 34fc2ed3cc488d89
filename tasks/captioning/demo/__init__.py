"""The demonstration (`make demo`): a captioner that cross-entropy has taught all it can is optimised for CIDEr-D while one watches.

    captioner that ships with the package
        ├── self-critical training on CIDEr-D     a process and a thread
        └── cross-entropy, for the same time      a process and a thread: the control

`plan` reckons how many updates fit, `processes` runs the two beside each other, `screen` shows them, `report` counts what became better
and draws it.
"""
