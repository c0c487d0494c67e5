"""Each network as a function of stacked parameters and inputs; each loss with its constants. Knows no data, no grid."""

from richness.networks.losses import LOSSES
from richness.networks.mlp import MLP
from richness.networks.optimizers import OPTIMIZERS, SCHEDULES

NETWORKS = {"mlp": MLP}

__all__ = ["LOSSES", "MLP", "NETWORKS", "OPTIMIZERS", "SCHEDULES"]
