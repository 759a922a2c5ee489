"""What the decoder promises about batches; its numbers are held against the oracle in test_sam."""

import torch
from medsam_edge.export.models.sam import Sam


@torch.no_grad()
def test_boxes_together_equal_boxes_one_by_one(sam: Sam, image: torch.Tensor, boxes: torch.Tensor) -> None:
    embedding = sam.encode(image)
    logits, iou = sam.decode(embedding, boxes)
    singles = [sam.decode(embedding, box[None]) for box in boxes]
    torch.testing.assert_close(torch.cat([one for one, _ in singles]), logits)
    torch.testing.assert_close(torch.cat([one for _, one in singles]), iou)


@torch.no_grad()
def test_one_embedding_for_all_boxes_equals_one_for_each(sam: Sam, image: torch.Tensor, boxes: torch.Tensor) -> None:
    embedding = sam.encode(image)
    shared, own = sam.decode(embedding, boxes[:3]), sam.decode(embedding.repeat(3, 1, 1, 1), boxes[:3])
    torch.testing.assert_close(shared, own)


@torch.no_grad()
def test_the_shapes_are_those_of_the_contract(sam: Sam, image: torch.Tensor, boxes: torch.Tensor) -> None:
    logits, iou = sam.decode(sam.encode(image), boxes)
    assert (logits.shape, iou.shape) == ((17, 1, 32, 32), (17, 1))


@torch.no_grad()
def test_only_mask_token_0_and_the_first_estimate_are_read(sam: Sam, image: torch.Tensor, boxes: torch.Tensor) -> None:
    whole = sam.mask_decoder
    embedding, image_pe = sam.encode(image), sam.prompt_encoder.pe_layer.grid(8)
    prompts = sam.prompt_encoder(boxes[:2])
    dense = embedding + sam.prompt_encoder.no_mask_embed.weight[:, :, None, None]
    tokens, seen = whole.transformer(
        dense.flatten(2).transpose(1, 2),
        image_pe,
        torch.cat([torch.cat([whole.iou_token.weight, whole.mask_tokens.weight]).expand(2, -1, -1), prompts], 1),
    )
    fine = whole.output_upscaling(seen.transpose(1, 2).reshape(2, -1, 8, 8))
    expected = torch.einsum("nc,nchw->nhw", whole.output_hypernetworks_mlps[0](tokens[:, 1]), fine)
    logits, iou = whole(dense, image_pe, prompts)
    torch.testing.assert_close(logits[:, 0], expected)
    torch.testing.assert_close(iou, whole.iou_prediction_head(tokens[:, 0])[:, :1])
