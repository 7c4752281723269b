"""Bringing back damaged nodes of a segment, by docs/format.md 6.3 alone."""

import zlib

from tests.format.fields import Damage

BLOCK = 4096
PARITY = 2
POLYNOMIAL = 0x11D


def _multiply(a, b):
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a & 0x100:
            a ^= POLYNOMIAL
        b >>= 1
    return product


_INVERSE = {a: b for a in range(1, 256) for b in range(1, 256) if _multiply(a, b) == 1}


def _scaled(factor, block):
    return block.translate(bytes(_multiply(factor, byte) for byte in range(256)))


def _sum(blocks):
    total = 0
    for block in blocks:
        total ^= int.from_bytes(block, "little")
    return total.to_bytes(BLOCK, "little")


def padding(nodes_size):
    return 0 if nodes_size <= BLOCK else -nodes_size % BLOCK


def table_size(nodes_size):
    return (-(-nodes_size // BLOCK) + PARITY + 1) * 4


def _table(data):
    sums = data[:-4]
    if zlib.crc32(sums).to_bytes(4, "little") != data[-4:]:
        return None
    return [int.from_bytes(sums[i:i + 4], "little") for i in range(0, len(sums), 4)]


def _solve(lost, parity, count, blocks):
    """The blocks that are lost, from as many blocks of parity, by elimination."""
    rows = []
    for p in parity:
        known = [_scaled(_INVERSE[(count + p) ^ j], blocks[j])
                 for j in range(count) if j not in lost]
        rows.append(([_INVERSE[(count + p) ^ j] for j in lost],
                     _sum([blocks[count + p]] + known)))
    if len(lost) == 2:
        (a, b), first = rows[0]
        (c, d), second = rows[1]
        scale = _multiply(c, _INVERSE[a])
        rest = _INVERSE[d ^ _multiply(scale, b)]
        other = _scaled(rest, _sum([second, _scaled(scale, first)]))
        mine = _scaled(_INVERSE[a], _sum([first, _scaled(b, other)]))
        return [mine, other]
    return [_scaled(_INVERSE[rows[0][0][0]], rows[0][1])]


def recover(whole, nodes_size):
    """The nodes of a segment of which something is damaged."""
    size = table_size(nodes_size)
    sums = _table(whole[:size]) or _table(whole[-size:])
    if sums is None:
        raise Damage("both tables of a segment are damaged")
    data = whole[size:size + nodes_size]
    blocks = [data[i:i + BLOCK].ljust(BLOCK, b"\0") for i in range(0, nodes_size, BLOCK)]
    count = len(blocks)
    parity = whole[size + nodes_size + padding(nodes_size):-size]
    blocks += [parity[i:i + BLOCK] for i in range(0, len(parity), BLOCK)]
    bad = [i for i, block in enumerate(blocks) if zlib.crc32(block) != sums[i]]
    lost = [i for i in bad if i < count]
    parity = [p for p in range(PARITY) if count + p not in bad]
    if len(lost) > len(parity):
        raise Damage("a segment is damaged beyond its parity")
    if lost:
        for i, block in zip(lost, _solve(lost, parity[:len(lost)], count, blocks)):
            blocks[i] = block
            if zlib.crc32(block) != sums[i]:
                raise Damage("a block that was brought back is not what it was")
    return b"".join(blocks[:count])[:nodes_size]
