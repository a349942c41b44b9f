"""Point-Unet: a saliency network chooses voxels, a point network classifies them.

    image ─► SAN ─► region ─► sampling ─► points ─► RandLA-Net ─► classes ─► volume ─► opening
             └ saliency ┘     └ sampling, neighbours ┘ └ randla ┘            └ volume ┘

Ho et al., arXiv:2203.08964.
"""

from baselines.point_unet.neighbours import PointPyramid, build_pyramid
from baselines.point_unet.network import PointCloud, PointUNet
from baselines.point_unet.randla import RandLANet, point_loss
from baselines.point_unet.sampling import context_aware_sample, point_features, room
from baselines.point_unet.volume import open_mask, scatter_to_volume

__all__ = [
    "PointCloud",
    "PointPyramid",
    "PointUNet",
    "RandLANet",
    "build_pyramid",
    "context_aware_sample",
    "open_mask",
    "point_features",
    "point_loss",
    "room",
    "scatter_to_volume",
]
