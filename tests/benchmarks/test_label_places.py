from itertools import combinations

from medsam_edge.benchmarks.label_places import Anchor, Rect, placed

INSIDE = Rect(0, 0, 500, 300)


def test_a_label_alone_stands_right_of_its_point() -> None:
    (rect,) = placed([Anchor(100, 100, 5, 60, 20)], (), INSIDE)
    assert rect == Rect(109, 90, 169, 110)


def test_labels_of_points_in_one_place_cover_neither_each_other_nor_the_points() -> None:
    anchors = [Anchor(250 + step, 150, 6, 70, 24) for step in range(0, 10, 2)]
    rects = placed(anchors, (), INSIDE)
    assert not [pair for pair in combinations(rects, 2) if pair[0].shared(pair[1])]
    points = [Rect(one.x - 6, one.y - 6, one.x + 6, one.y + 6) for one in anchors]
    assert not [rect for rect in rects for point in points if rect.shared(point)]


def test_a_label_keeps_inside_and_off_what_is_taken() -> None:
    line = Rect(0, 96, 500, 104)
    (rect,) = placed([Anchor(495, 100, 5, 60, 20)], (line,), INSIDE)
    assert rect.shared(INSIDE) == rect.area
    assert not rect.shared(line)


def test_a_label_is_not_nearer_to_another_point() -> None:
    first, second = placed([Anchor(100, 150, 5, 60, 20), Anchor(104, 136, 5, 60, 20)], (), INSIDE)
    assert second.gap(Anchor(104, 136, 5, 60, 20)) < second.gap(Anchor(100, 150, 5, 60, 20))
    assert first.gap(Anchor(100, 150, 5, 60, 20)) < first.gap(Anchor(104, 136, 5, 60, 20))


def test_where_no_place_is_free_there_is_a_place_all_the_same() -> None:
    assert len(placed([Anchor(5, 5, 5, 60, 20)], (Rect(-99, -99, 99, 99),), Rect(0, 0, 10, 10))) == 1
