"""The networks that the ConvLSTM of Killekar et al. 2022 is compared with, under the same harness.

Each takes windows ``(window, slice, row, column)`` and gives the logits of the centre slice, as the ConvLSTM does.
"""

from analysis.training.baselines.convlstm2021 import ConvLstm2021
from analysis.training.baselines.denseunet3d import DenseUNet3D
from analysis.training.baselines.unet2d import UNet2D
from analysis.training.baselines.unet3d import UNet3D

__all__ = ["ConvLstm2021", "DenseUNet3D", "UNet2D", "UNet3D"]
