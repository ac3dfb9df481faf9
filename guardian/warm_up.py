"""Machine code before work: every kernel is loaded, or compiled once on a machine, with word of what is waited for.

Owns that the first start uses all cores: numba compiles one function at a time in a process, so modules are dealt out to
processes that leave their code in the cache. Does not own compilation itself (``scoring.compilation``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any, Final

from rich.console import Console

from guardian.decode import KERNELS
from scoring.compilation import ENGINE, cached, compile_all, kernels_of

MODULES: Final = (*ENGINE, *KERNELS)
"""Every module whose kernels the service and its commands run."""

_MOST_PROCESSES: Final = 4
_COMPILE: Final = "import sys; from scoring.compilation import compile_all; compile_all(*sys.argv[1:])"
_LOOK_S: Final = 0.2


def warm_up(errors: Console, say: Any) -> None:
    """Load the kernels; say what is being waited for when they must be compiled first."""
    ours = kernels_of(*MODULES)
    if len(cached(*MODULES)) < len(ours):
        errors.print(say("compiling"))
        with errors.status("") as status:
            for name, done in _compiling():
                status.update(say("kernel", name=name, done=done + 1, total=len(ours)))
    compile_all(*MODULES)  # what a process could not leave in a cache is compiled here


def _compiling() -> Any:
    """Compile in several processes; yields a kernel that is not done yet, and how many are."""
    many = min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)
    running = [
        subprocess.Popen(  # noqa: S603  (this Python and these modules, nothing of a user's)
            [sys.executable, "-c", _COMPILE, *MODULES[first::many]], stderr=subprocess.DEVNULL
        )
        for first in range(many)
    ]
    try:
        while any(process.poll() is None for process in running):
            done = cached(*MODULES)
            left = [each.__name__ for each in kernels_of(*MODULES) if each not in done]
            if left:
                yield left[0], len(done)
            time.sleep(_LOOK_S)
    finally:
        for process in running:
            process.kill()
            process.wait()
