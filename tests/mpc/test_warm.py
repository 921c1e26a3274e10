"""What a server compiles at its start is all that a training step and a prediction need."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import torch
from numba.core.registry import CPUDispatcher
from medveil.mpc import ring_ifma, warm
from medveil.mpc.nn.trace import from_module
from medveil.mpc.protocols.rep3 import kernels
from medveil.networks.classifiers import paper_cnn

def compiled():
    places = {**vars(kernels), **vars(ring_ifma)}
    return {f"{name} {s}" for name, k in places.items() if isinstance(k, CPUDispatcher) for s in k.signatures}

assert not compiled(), "nothing is compiled before"
warm.compile_kernels()
before = compiled()
assert before, "the start compiles"
warm._SPEC, _ = from_module(paper_cnn(1, 50), (1, 50, 50), train=True)  # the paper's network over the same steps
warm.compile_kernels()
print(len(compiled() - before), sorted(compiled() - before))
"""


def test_a_training_step_compiles_nothing_more_after_the_start() -> None:
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 "), done.stdout
