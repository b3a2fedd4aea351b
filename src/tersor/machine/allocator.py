"""How the C library hands out memory."""

import ctypes

_M_ARENA_MAX = -8  # of glibc's malloc.h


def one_arena() -> None:
    """Have all threads of this process take memory from one pool, where glibc is the C library.

    By default each thread has one of its own, which keeps what it is given back: text that goes
    through a block in many threads then holds a quarter more memory than is in use. For the
    process's owner to call, before there are threads; nothing happens with other C libraries.
    """
    try:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    except (OSError, AttributeError):
        return
