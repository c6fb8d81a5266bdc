from __future__ import annotations

import pytest

from decoderlab.common.randomness import STREAMS, numpy_generator, stream_seed, torch_generator


def test_streams_keys_and_seeds_are_all_different():
    seeds = {
        stream_seed(seed, stream, key) for seed in range(3) for stream in STREAMS for key in (0, 1)
    }
    assert len(seeds) == 3 * len(STREAMS) * 2
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_stream_does_not_change_from_one_version_to_the_next():
    # A golden number: if it changes, no old run can be repeated.
    assert stream_seed(0, "order", 1) == 4489457307835839548


def test_generators_repeat():
    assert (numpy_generator(3, "data").random(4) == numpy_generator(3, "data").random(4)).all()
    assert torch_generator(3, "init", "w").initial_seed() == stream_seed(3, "init", "w")


def test_an_unknown_stream_is_refused():
    with pytest.raises(ValueError, match="must be one of data, init"):
        stream_seed(0, "odrer")
