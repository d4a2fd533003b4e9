import pytest
import torch

from bowstring.fields.model import FAMILIES, HEADS, KINDS_OF_FIELDS, KNOTS, WAVES, FieldModel
from bowstring.fields.network import FieldNetwork
from bowstring.nn.config import NetworkConfig

SMALL = NetworkConfig(width=64, depth=1, ffn_hidden=64, vocab=1, rank=1)


class Silent(torch.nn.Module):
    """A network that has nothing to add to the linear estimate."""

    def forward(self, head, x, t, condition):
        return torch.zeros_like(x[:, : HEADS[head].out])


@pytest.fixture(scope="session")
def model():
    """Tables of a free field whose mass falls with the parameter; the network is untrained, so it adds
    nothing.
    """
    torch.manual_seed(0)
    wave = torch.linspace(0, 1, WAVES)
    rows = [-(8 * wave**2 + 0.5 - 0.4 * k / (KNOTS - 1)).log() for k in range(KNOTS)]
    table = torch.stack([torch.cat([row[:1], row]) for row in rows])
    out = FieldModel(FieldNetwork(SMALL, HEADS, len(KINDS_OF_FIELDS) + 2))
    out.log_power.copy_(table.expand(len(FAMILIES), -1, -1).flatten())
    return out.eval()


@pytest.fixture(scope="session")
def linear_model(model):
    """The same tables without a network: faster, and the same fields."""
    out = FieldModel(Silent())
    out.log_power.copy_(model.log_power)
    return out
