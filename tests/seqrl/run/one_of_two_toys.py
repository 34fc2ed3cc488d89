"""The seqrl command as one of two processes under gloo; `test_interrupts_of_several` starts it."""

from __future__ import annotations

import sys

import torch

from seqrl.__main__ import main

if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    sys.exit(main())
