"""A checkpoint is loaded without torch's compiler, and with the very values it stores."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the policy extra is not installed")

import torch
from torch import nn

from armlet.policies.networks.meta import without_values

REACH = Path(__file__).parents[2] / "checkpoints" / "reach"
# As the policy node does until it is ready: load, speed up, predict.
LOAD = """
import sys
from armlet.policies import load_policy, warm_up
policy = load_policy(sys.argv[1])
warm_up(policy, "reach")
print(sorted({"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
"""


@pytest.mark.thorough
def test_loading_and_running_a_policy_imports_no_compiler():
    """Its import takes as long as torch's own, at every start of a policy node."""
    done = subprocess.run([sys.executable, "-c", LOAD, REACH], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_layers_without_values_have_shapes_and_draw_nothing():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with without_values():
        layers = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Linear(4, 2), nn.Embedding(7, 3))
        for fill in (nn.init.kaiming_normal_, nn.init.xavier_uniform_, nn.init.trunc_normal_):
            fill(layers[0].weight)
    assert all(value.is_meta for value in layers.state_dict().values())
    assert layers[0].weight.shape == (4, 3, 5, 5) and layers[2].weight.shape == (7, 3)
    assert torch.equal(torch.rand(1), expected)
