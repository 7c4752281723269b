"""XXH3-64 with seed 0, in pure Python: slow, and independent of the C library.

Written from the specification of the algorithm; tests/format/format_reader_test.py
compares it with the key hashes of the golden stores, which have keys of every
length class.
"""

import struct

_MASK = (1 << 64) - 1
_P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_P64 = (
    0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9,
    0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5,
)
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_STRIPE = 64
_BLOCK = 1024  # 16 stripes


def _u32(data, offset):
    return struct.unpack_from("<I", data, offset)[0]


def _u64(data, offset):
    return struct.unpack_from("<Q", data, offset)[0]


def _secret(offset):
    return _u64(_SECRET, offset)


def _rotate(word, bits):
    return ((word << bits) | (word >> (64 - bits))) & _MASK


def _fold(a, b):
    """The halves of the 128-bit product, xored."""
    product = a * b
    return (product & _MASK) ^ (product >> 64)


def _avalanche(word):
    word ^= word >> 37
    word = word * 0x165667919E3779F9 & _MASK
    return word ^ (word >> 32)


def _avalanche64(word):
    word ^= word >> 33
    word = word * _P64[1] & _MASK
    word ^= word >> 29
    word = word * _P64[2] & _MASK
    return word ^ (word >> 32)


def _mix16(data, offset, secret_offset):
    return _fold(
        _u64(data, offset) ^ _secret(secret_offset),
        _u64(data, offset + 8) ^ _secret(secret_offset + 8),
    )


def _up_to_16(data):
    size = len(data)
    if size > 8:
        low = _u64(data, 0) ^ _secret(24) ^ _secret(32)
        high = _u64(data, size - 8) ^ _secret(40) ^ _secret(48)
        swapped = int.from_bytes(low.to_bytes(8, "little"), "big")
        return _avalanche((size + swapped + high + _fold(low, high)) & _MASK)
    if size >= 4:
        word = (_u32(data, size - 4) + (_u32(data, 0) << 32)) ^ _secret(8) ^ _secret(16)
        word ^= _rotate(word, 49) ^ _rotate(word, 24)
        word = word * 0x9FB21C651E98DF25 & _MASK
        word ^= (word >> 35) + size
        word = word * 0x9FB21C651E98DF25 & _MASK
        return word ^ (word >> 28)
    if size > 0:
        word = data[0] << 16 | data[size // 2] << 24 | data[-1] | size << 8
        return _avalanche64(word ^ _u32(_SECRET, 0) ^ _u32(_SECRET, 4))
    return _avalanche64(_secret(56) ^ _secret(64))


def _up_to_128(data):
    size = len(data)
    total = size * _P64[0]
    for i in range((size - 1) // 32 + 1):
        total += _mix16(data, 16 * i, 32 * i)
        total += _mix16(data, size - 16 * (i + 1), 32 * i + 16)
    return _avalanche(total & _MASK)


def _up_to_240(data):
    size = len(data)
    total = size * _P64[0]
    for i in range(8):
        total += _mix16(data, 16 * i, 16 * i)
    total = _avalanche(total & _MASK)
    for i in range(8, size // 16):
        total += _mix16(data, 16 * i, 16 * (i - 8) + 3)
    total += _mix16(data, size - 16, 136 - 17)
    return _avalanche(total & _MASK)


def _accumulate(sums, data, offset, secret_offset):
    for i in range(8):
        word = _u64(data, offset + 8 * i)
        keyed = word ^ _secret(secret_offset + 8 * i)
        sums[i ^ 1] = (sums[i ^ 1] + word) & _MASK
        sums[i] = (sums[i] + (keyed & 0xFFFFFFFF) * (keyed >> 32)) & _MASK


def _long(data):
    size = len(data)
    sums = [_P32[2], *_P64[:4], _P32[1], _P64[4], _P32[0]]
    for stripe in range((size - 1) // _STRIPE):
        in_block = stripe % (_BLOCK // _STRIPE)
        _accumulate(sums, data, stripe * _STRIPE, 8 * in_block)
        if in_block == _BLOCK // _STRIPE - 1:
            for i in range(8):
                word = sums[i] ^ (sums[i] >> 47) ^ _secret(128 + 8 * i)
                sums[i] = word * _P32[0] & _MASK
    _accumulate(sums, data, size - _STRIPE, 192 - _STRIPE - 7)
    total = size * _P64[0]
    for i in range(0, 8, 2):
        total += _fold(sums[i] ^ _secret(11 + 8 * i), sums[i + 1] ^ _secret(19 + 8 * i))
    return _avalanche(total & _MASK)


def xxh3_64(data):
    size = len(data)
    if size <= 16:
        return _up_to_16(data)
    if size <= 128:
        return _up_to_128(data)
    if size <= 240:
        return _up_to_240(data)
    return _long(data)
