"""The loss: Dice and cross-entropy on the low-resolution logits, the IoU head's error, a help for the encoder.

Source: Ma et al. 2024 (MedSAM, Nat Commun 15:654) sum Dice and cross-entropy; the IoU head learns by squared error
as in Kirillov et al. 2023. It knows nothing of images.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def mask_loss(logits: Tensor, targets: Tensor, boxes: Tensor) -> Tensor:
    """Return Dice plus cross-entropy, both means over the masks.

    Args:
        logits: `(N, M, M)`.
        targets: `(N, M, M)`, the covered share of each cell.
        boxes: `(N, 4)`, in shares of the image's side.
    """
    chance = logits.sigmoid()
    overlap = 2 * (chance * targets).sum(dim=(1, 2)) + 1
    dice = 1 - overlap / (chance.square().sum(dim=(1, 2)) + targets.square().sum(dim=(1, 2)) + 1)
    return dice.mean() + entropy_near(logits, targets, boxes)


def affinity_loss(features: Tensor, targets: Tensor, boxes: Tensor) -> Tensor:
    """Return how badly cells are told apart by the nearer of two prototypes, the object's and its surroundings'.

    From random weights the decoder cannot look for an object in features that do not separate it, and the encoder is
    not asked to separate what the decoder does not look at: for thousands of steps a model draws the average shape of
    a box. This loss breaks the circle, for it asks the encoder directly. After prototypical networks (Snell et al.
    2017, arXiv 1703.05175), with cosine similarity.

    Args:
        features: `(N, C, M, M)`, the upscaled embedding of each box's image.
        targets: `(N, M, M)`.
        boxes: `(N, 4)`, in shares of the image's side.
    """
    unit = F.normalize(features, dim=1)
    around = neighbourhood(boxes, targets.shape[-1]) * (1 - targets)
    own, other = (F.normalize(torch.einsum("nchw,nhw->nc", unit, weight), dim=1) for weight in (targets, around))
    return entropy_near(10 * torch.einsum("nchw,nc->nhw", unit, own - other), targets, boxes)


def entropy_near(logits: Tensor, targets: Tensor, boxes: Tensor) -> Tensor:
    """Return the cross-entropy of each map, weighted towards its box, averaged over the maps."""
    near = neighbourhood(boxes, logits.shape[-1])
    entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return ((near * entropy).sum(dim=(1, 2)) / near.sum(dim=(1, 2))).mean()


def neighbourhood(boxes: Tensor, side: int) -> Tensor:
    """Return weights `(N, side, side)`: 1 in a box enlarged by a quarter to each side, 0.02 elsewhere.

    Far from its box a mask is trivially empty; averaged over the whole map, that drowns the contour.
    """
    centres = (torch.arange(side, device=boxes.device) + 0.5) / side
    margin = (boxes[:, 2:] - boxes[:, :2]) / 4 + 1 / side
    low, high = (boxes[:, :2] - margin)[..., None], (boxes[:, 2:] + margin)[..., None]
    inside = (centres > low) & (centres < high)
    return torch.where(inside[:, 1, :, None] & inside[:, 0, None, :], 1.0, 0.02)


def iou_loss(predicted: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of the IoU estimate `(N, 1)` against the IoU of the thresholded masks."""
    with torch.no_grad():
        mask, truth = logits > 0, targets > 0.5
        union = (mask | truth).sum(dim=(1, 2)).clamp(min=1)
        iou = (mask & truth).sum(dim=(1, 2)) / union
    return F.mse_loss(predicted[:, 0], iou)
