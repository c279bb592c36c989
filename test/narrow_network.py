"""A ResNet of an eighth of the width, for tests that are not about the network.

ResNet-18 has eleven million weights however small the rest of a policy is, and to make, train, save
and load them takes most of such a test. `test/policies` tests the real one.
"""

import pytest
from torch import nn

from armlet.policies.networks import act, resnet

NARROWER = 8


class NarrowResNet(resnet.ResNet):
    def __init__(self, name, dilate_last=False, norm=resnet.FrozenBatchNorm):
        nn.Module.__init__(self)
        depths, bottleneck = resnet._DEPTHS[name]
        assert not bottleneck and not dilate_last, f"no narrow {name}"
        widths = [width // NARROWER for width in (64, 64, 128, 256, 512)]
        self.channels = widths[-1]
        self.conv1 = resnet._conv(3, widths[0], 7, 2)
        self.bn1 = norm(widths[0])
        for number, depth in enumerate(depths, 1):
            inside, width = widths[number - 1 : number + 1]
            stride = 1 if number == 1 else 2
            stage = resnet._stage(resnet.Block, inside, width, depth, norm, stride)
            setattr(self, f"layer{number}", stage)


@pytest.fixture(scope="module", autouse=True)
def narrow_network():
    """ACT policies that are made, trained and loaded in this process have a narrow backbone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(act, "ResNet", NarrowResNet)
        yield
