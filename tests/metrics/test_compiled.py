"""What `make build` compiles."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from seqrl import metrics
from seqrl.metrics.compiled import _Deferred
from seqrl.metrics.warm_up import warm_up


@pytest.mark.slow
def test_the_warm_up_reaches_the_loops_of_every_metric_but_meteor() -> None:
    names = [path.stem for path in Path(metrics.__file__).parent.glob("*kernels.py")]
    assert {"kernels", "sequence_kernels", "chrf_kernels"} <= set(names)
    warm_up()
    waiting = {name for name in names if any(isinstance(each, _Deferred) for each in vars(import_module(f"seqrl.metrics.{name}")).values())}
    assert not waiting
