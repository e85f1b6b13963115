"""Bundle adjustment: the cameras, and where the board or the points were, that explain all observations best.

Sparse, in float64, with exact derivatives, a robust loss and the covariance of all camera parameters.
"""

from calib.bundle.adjust import adjust_boards, adjust_points
from calib.bundle.adjusted import Adjusted, CameraDeviation
from calib.bundle.loss import LossName
from calib.bundle.parameters import Focal, Free

__all__ = ["Adjusted", "CameraDeviation", "Focal", "Free", "LossName", "adjust_boards", "adjust_points"]
