"""Permissions that bind whoever runs the tests, root too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

# Of Linux: what lets root read and write whatever the permissions say.
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2
PR_CAPBSET_DROP = 24
HEADER = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, of this process
LIBC = ctypes.CDLL(None, use_errno=True)


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """Be bound by permissions as an ordinary user is, with the processes that are forked."""
    if os.geteuid() != 0:
        yield
        return
    before = _bind()
    try:
        yield
    finally:
        _check(LIBC.capset(HEADER, before))


def _bind() -> ctypes.Array:
    """Give up what lets root do; return what there was."""
    before = (ctypes.c_uint32 * 6)()  # effective, permitted and inheritable, twice
    _check(LIBC.capget(HEADER, before))
    bound = (ctypes.c_uint32 * 6)(*before)
    bound[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    _check(LIBC.capset(HEADER, bound))
    return before


def _check(code: int) -> None:
    if code:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def bind_by_permissions() -> None:
    """Bind this process by permissions for good, and what it executes; for `preexec_fn`."""
    if os.geteuid() == 0:
        _bind()
        for capability in (DAC_OVERRIDE, DAC_READ_SEARCH):
            LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)
