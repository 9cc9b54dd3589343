"""What the process asks of Python and of libraries, before these are imported."""

from __future__ import annotations

import gc
import os


def settle() -> None:
    """Settle it; children inherit what is in the environment, and what the user has set there stays."""
    # Imports and tables make few cycles: looking for them as often as Python does costs a tenth of a short command.
    gc.set_threshold(500_000, 20, 20)
    # The sensor's tables are large and mostly untouched: huge pages would make them resident, a fifth more memory.
    os.environ.setdefault("NUMPY_MADVISE_HUGEPAGE", "0")
    # Nothing here multiplies matrices; numpy's library for it starts a thread a core, which wait by spinning.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
