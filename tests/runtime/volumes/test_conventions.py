import numpy as np
import pytest
from medsam_edge.runtime.errors import UsageError
from medsam_edge.runtime.profile import VOCABULARY, medsam, profile_named
from medsam_edge.runtime.volumes.conventions import CONVENTIONS, check_after_empty, convention_of


@pytest.mark.parametrize(
    ("name", "z_min", "z_max", "slices", "middle"),
    [
        ("litemedsam", 0, 4, [0, 1, 2, 3, 4], 2),
        ("litemedsam", 0, 3, [0, 1, 2, 3], 1),
        ("litemedsam", 5, 5, [5], 5),
        ("daft", 0, 4, [0, 1, 2, 3], 2),
        ("medficientsam", 0, 4, [0, 1, 2, 3], 2),
        ("medficientsam", 3, 6, [3, 4, 5], 4),
    ],
)
def test_z_max_and_the_middle_are_as_published(
    name: str, z_min: int, z_max: int, slices: list[int], middle: int
) -> None:
    one = CONVENTIONS[name]
    last = one.last_of(z_max)
    assert list(range(z_min, last + 1)) == slices
    assert one.middle_of(z_min, last) == middle == int((z_max - z_min) / 2 + z_min)


@pytest.mark.parametrize(("name", "margin"), [("litemedsam", 3), ("daft", 3), ("medficientsam", 0)])
def test_the_margin_is_in_pixels_of_256(name: str, margin: int) -> None:
    mask = np.zeros((256, 256), bool)
    mask[100:121, 40:61] = True
    assert CONVENTIONS[name].next_box(mask).tolist() == [40 - margin, 100 - margin, 60 + margin, 120 + margin]
    large = mask.repeat(2, axis=0).repeat(2, axis=1)
    assert CONVENTIONS[name].next_box(large).tolist() == [
        80 - 2 * margin, 200 - 2 * margin, 121 + 2 * margin, 241 + 2 * margin
    ]  # fmt: skip


def test_the_margin_stops_at_the_edges_and_an_empty_mask_has_no_box() -> None:
    mask = np.zeros((128, 256), bool)
    mask[0, :2] = mask[-1, -1] = True
    assert CONVENTIONS["litemedsam"].next_box(mask).tolist() == [0, 0, 256, 128]
    assert CONVENTIONS["litemedsam"].next_box(np.zeros((8, 8), bool)) is None


def test_every_profile_has_a_convention_and_another_may_be_named() -> None:
    for name in VOCABULARY["name"]:
        assert convention_of(profile_named(str(name), 64)).name == "litemedsam"
    assert convention_of(medsam(), "daft").name == "daft"
    with pytest.raises(UsageError, match="litemedsam"):
        convention_of(medsam(), "other")
    with pytest.raises(UsageError, match="first-box"):
        check_after_empty("guess")
