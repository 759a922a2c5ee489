import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from medsam_edge.runtime.errors import ParityError
from medsam_edge.runtime.predictor import Timings
from medsam_edge.runtime.volumes.ahead import EncodedAhead
from medsam_edge.runtime.volumes.tracks import DOWN, UP, Step

SIZE = 256 * 4  # bytes of one embedding below


def embedding(index: int) -> Any:  # noqa: ANN401
    return SimpleNamespace(index=index, tensor=np.zeros((1, 256, 1, 1), np.float32), timings=Timings(encode_ms=2.0))


def test_embeddings_come_in_the_order_of_steps_and_no_more_than_asked_wait() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def encode(index: int) -> Any:  # noqa: ANN401
        begun.append(index)
        gate.wait(10)
        return embedding(index)

    steps = [Step(UP, index) for index in range(9)]
    with EncodedAhead(encode, (), ahead=2, keep_bytes=0) as ahead:
        ahead.prepare(steps)
        ahead.prepare(steps)  # queued already
        gate.set()
        assert ahead.take(steps[0]).index == 0  # type: ignore[attr-defined]
        assert ahead.take(steps[2]).index == 2  # type: ignore[attr-defined]
    assert begun == [0, 1, 2]
    assert (ahead.encoded, ahead.encode_ms) == (3, 6.0)


def test_encoding_goes_on_in_another_thread_while_the_caller_works() -> None:
    encoded, asked = threading.Event(), []

    def encode(index: int) -> Any:  # noqa: ANN401
        asked.append(threading.get_ident())
        if index == 1:
            encoded.set()
        return embedding(index)

    with EncodedAhead(encode, (), ahead=1, keep_bytes=0) as ahead:
        ahead.prepare([Step(UP, 0), Step(UP, 1)])
        ahead.take(Step(UP, 0))
        assert encoded.wait(10)  # nobody has asked for it yet
    assert threading.get_ident() not in asked


@pytest.mark.parametrize(("room", "encoded"), [(0, 6), (2, 4), (3, 3), (99, 3)])
def test_kept_embeddings_are_not_computed_again_within_the_budget(room: int, encoded: int) -> None:
    up, down = ([Step(way, index) for index in (0, 1, 2)] for way in (UP, DOWN))
    with EncodedAhead(embedding, {0, 1, 2}, ahead=0, keep_bytes=room * SIZE) as ahead:
        for step in (*up, *down[::-1]):
            ahead.prepare([step])
            found = ahead.take(step)
            assert found.index == step.index  # type: ignore[attr-defined]
            if step.way == UP:
                ahead.keep(step, found)
                assert len(ahead._kept) <= room
    assert ahead.encoded == encoded


def test_an_error_of_the_encoder_reaches_the_caller_and_no_thread_is_left() -> None:
    def encode(index: int) -> Any:  # noqa: ANN401
        raise ParityError("numbers", f"NaN on slice {index}", "stop")

    before = threading.active_count()
    with EncodedAhead(encode, (), 2, 0) as ahead:
        ahead.prepare([Step(UP, 4), Step(UP, 5)])
        with pytest.raises(ParityError, match="slice 4"):
            ahead.take(Step(UP, 4))
    assert threading.active_count() == before
