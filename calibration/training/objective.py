"""The loss: Dice and cross-entropy on the low-resolution logits, and the IoU head's own error.

Source: Ma et al. 2024 (MedSAM, Nat Commun 15:654) sum Dice and cross-entropy; the IoU head learns by squared error
as in Kirillov et al. 2023. It knows nothing of images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return Dice plus cross-entropy, both means over `(N, M, M)` logits and soft targets."""
    chance = logits.sigmoid()
    overlap = 2 * (chance * targets).sum(dim=(1, 2)) + 1
    dice = 1 - overlap / (chance.square().sum(dim=(1, 2)) + targets.square().sum(dim=(1, 2)) + 1)
    # Cross-entropy averaged over the whole map is tiny for a small object; the weight keeps it in step with Dice.
    return dice.mean() + 5 * F.binary_cross_entropy_with_logits(logits, targets)


def iou_loss(predicted: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of the IoU estimate `(N, 1)` against the IoU of the thresholded masks."""
    with torch.no_grad():
        mask, truth = logits > 0, targets > 0.5
        union = (mask | truth).sum(dim=(1, 2)).clamp(min=1)
        iou = (mask & truth).sum(dim=(1, 2)) / union
    return F.mse_loss(predicted[:, 0], iou)
