"""The search for garbage, which waits while much is made that stays."""

from __future__ import annotations

import gc

import pytest

from decoderlab.common.process import without_collection


def test_the_search_for_garbage_waits_and_goes_on():
    with pytest.raises(ValueError, match="broken off"), without_collection():
        assert not gc.isenabled()
        with without_collection():
            pass
        assert not gc.isenabled()
        raise ValueError("broken off")
    assert gc.isenabled()
