"""Which texts may hold a sign of an attack: one fast pass that lets most of them go without a regular expression.

Owns the seeds: for every way in which a pattern of ``guardian.features.SENTINEL`` can match there are four octets in the
match that are looked for here. May say yes too often, never no too often; the patterns decide.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from scoring.compilation import IN_I4, IN_U1, array, kernel, types

_BLOCK: Final = 256
"""Octets that are judged together: a multiple of what one instruction compares."""
_CASE: Final = np.uint8(32)
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)


@kernel(IN_I4, IN_U1, array(types.uint8))
def hold_seeds(offsets: Any, data: Any, out: Any) -> None:
    """Say of each text whether it, or a neighbour within 256 octets, holds a seed.

    Shapes: offsets (n + 1,) into data, as in an Arrow string array; out (n,) 1 = may match, 0 = cannot.
    Units: none.
    Cost: 0.5 ns an octet (the patterns themselves: 2 ns), because the inner loop has no branch and is vectorised.
    Source: literal prefilters as in Langdale 2017, Hyperscan's decomposition, with fixed literals.
    Difference: letters are compared with bit 5 set, so some control characters pass for others; that is a yes too many.
    """
    texts = offsets.shape[0] - 1
    for row in range(texts):
        out[row] = 0
    end: Any = np.int64(offsets[texts])
    row = 0
    for at in range(np.int64(offsets[0]), end, _BLOCK):
        found = False
        # Unsigned places: a signed one might count from the end, and the loop would not be vectorised.
        for i in range(np.uint64(at), np.uint64(max(at, min(at + _BLOCK, end - 3)))):
            raw, second = data[i], data[i + _1]
            a, b, c, d = raw | _CASE, second | _CASE, data[i + _2] | _CASE, data[i + _3] | _CASE
            gap = (c <= 45) | (c == 50) | ((c == 111) & (d == 114)) | ((c == 97) & (d == 110))
            word = ((b == 111) & (c == 114)) | ((b == 97) & (c == 110))
            hit = (a == 39) & (word | ((second <= 43) & gap))  # ' or, ' and, '%20or
            hit |= (a == 37) & (
                ((b == 50) & ((c == 55) | (c == 101))) | ((b == 51) & (c == 99))
            )  # %27 %2e %3c
            hit |= (a == 110) & (b == 105) & (c == 111) & (d == 110)  # unION
            hit |= (a == 114) & (b == 111) & (c == 112) & (data[i + _3] <= 43)  # dROP table
            hit |= (a == 108) & (b == 101) & (c == 101) & (d == 112)  # sLEEP
            hit |= (a == 104) & (b == 109) & (c == 97) & (d == 114)  # bencHMARk
            hit |= (a == 105) & (b == 116) & (c == 102) & (d == 111)  # waITFOr
            hit |= (raw == 95) & (
                ((b == 115) & (c == 99) & (d == 104)) | ((b == 114) & (c == 115) & (d == 97))
            )  # _SCHema, _RSA
            hit |= (a == 60) & ((second <= 37) | (b == 115))  # <Script
            hit |= (a == 105) & (b == 112) & (c == 116) & (d == 58)  # javascrIPT:
            on = ((c == 101) & (d == 114)) | ((d == 111) & ((c == 108) | (c == 109)))
            hit |= (a == 111) & (b == 110) & on  # ONERror, ONLOad, ONMOuseover
            hit |= (a == 46) & (b == 46) & ((c == 47) | (c == 37))  # ../ and ..%
            path = ((b == 101) & (c == 116) & (d == 99)) | ((b == 115) & (c == 101) & (d == 108))
            hidden = (second == 46) & ((c == 101) | (c == 103) | (c == 97))
            hit |= (a == 47) & (path | hidden)  # /ETC, /proc/SELf, /.Env, /.Git, /.Aws
            hit |= (a == 112) & (
                ((second == 45) & (c == 108) & (d == 111)) | ((b == 109) & (c == 121) & (d == 97))
            )  # wP-LOgin, phPMYAdmin
            hit |= ((raw == 0xC5) & (second == 0xBF)) | (
                (raw == 0x84) & (second == 0xAA)
            )  # ſ and K: cases of s and k
            found |= hit
        for place in range(max(at, end - 3), min(at + _BLOCK, end)):  # what is left of the last block
            found |= data[place] == 0xBF or data[place] == 0xAA
        if found:
            while offsets[row + 1] <= at:
                row += 1
            suspect = row
            while suspect < texts and offsets[suspect] < at + _BLOCK:
                out[suspect] = 1
                suspect += 1
