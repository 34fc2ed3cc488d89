"""Features of one's own in an HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from seqrl.tasks.captioning.feature_form import FeatureFile, from_members
from seqrl.tasks.hdf5_files import open_hdf5


@contextmanager
def open_feature_hdf5(path: Path) -> Iterator[FeatureFile]:
    """Open an HDF5 file; see `open_features`.

    Raises:
        ValueError: when it is no whole HDF5 file, leads out of itself, or holds what is no feature, or h5py is not installed.
    """
    with open_hdf5(path, extra="vision") as rows:
        yield from_members(path, rows, lambda name: (rows[name].shape, rows[name].dtype), rows.__getitem__)
