"""Reserved keys, written from section 4 of docs/format.md alone."""

import struct

_MASK = (1 << 64) - 1
_FACTORS = (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53)
_LIMITS = {b"b": 1 << 40, b"c": 1 << 40, b"d": 1 << 40, b"n": 1 << 40, b"k": 1, b"i": 1}


def _mix(x):
    for factor in _FACTORS:
        x = (x ^ (x >> 33)) * factor & _MASK
    return x ^ (x >> 33)


def _unmix(x):
    for factor in reversed(_FACTORS):
        x = (x ^ (x >> 33)) * pow(factor, -1, 1 << 64) & _MASK
    return x ^ (x >> 33)


def reserved_hash(secret, kind, number=0):
    """The hash of a reserved key."""
    first, second = struct.unpack("<QQ", secret)
    return _mix(_mix((ord(kind) << 56) ^ number ^ first) ^ second)


def reserved_key(secret, key_hash):
    """The kind and number of the reserved key with this hash, or None."""
    first, second = struct.unpack("<QQ", secret)
    key = _unmix(_unmix(key_hash) ^ second) ^ first
    kind, number = bytes([key >> 56]), key & ((1 << 56) - 1)
    return (kind, number) if number < _LIMITS.get(kind, 0) else None
