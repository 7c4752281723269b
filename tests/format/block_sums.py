"""Block sums of an entry: section 2.7 of docs/format.md."""

import struct
import zlib

from tests.format.reserved_keys import reserved_hash, reserved_key
from tests.format.xxh3 import xxh3_64

BLOCK = 65536
LEAST = 4 * BLOCK  # bytes of a payload that has sums
MAGIC = b"VRS1"
HEADER = struct.Struct("<4sIQQ")
GROUP = 1022


def blocks(size):
    """(begin, end) of each block of a payload."""
    count = size // BLOCK
    return [(i * BLOCK, size if i + 1 == count else (i + 1) * BLOCK) for i in range(count)]


def payload_size(size):
    count = size // BLOCK
    return HEADER.size + 4 * count + 8 * -(-count // GROUP)


def key_in(payload):
    """The key hash of the entry whose sums these are, or None if they are none."""
    if len(payload) < HEADER.size or payload[:4] != MAGIC:
        return None
    return HEADER.unpack_from(payload)[2]


def key_hash_for(secret, key_hash):
    """The key hash of the sums of the entry with this one: section 4."""
    key = reserved_key(secret, key_hash)
    if key is not None and key[0] == b"d":
        return reserved_hash(secret, b"b", key[1])
    return xxh3_64(secret + b"b" + struct.pack("<Q", key_hash))


def encode(key_hash, data):
    header = HEADER.pack(MAGIC, zlib.crc32(data), key_hash, len(data))
    sums = [zlib.crc32(data[begin:end]) for begin, end in blocks(len(data))]
    payload = header
    for number, first in enumerate(range(0, len(sums), GROUP)):
        group = sums[first:first + GROUP]
        packed = struct.pack("<%dI" % len(group), *group)
        payload += packed + struct.pack(
            "<Q", xxh3_64(header + struct.pack("<Q", number) + packed))
    return payload


def read(payload, key_hash, crc, size):
    """The sums of the blocks of an entry, None where they are damaged; None if it has none."""
    header = HEADER.pack(MAGIC, crc, key_hash, size)
    if size < LEAST or len(payload) != payload_size(size) or not payload.startswith(header):
        return None
    sums, at, count = [], len(header), size // BLOCK
    for number, first in enumerate(range(0, count, GROUP)):
        length = 4 * min(GROUP, count - first)
        packed, check = payload[at:at + length], payload[at + length:at + length + 8]
        sound = check == struct.pack(
            "<Q", xxh3_64(header + struct.pack("<Q", number) + packed))
        values = [word for (word,) in struct.iter_unpack("<I", packed)]
        sums += values if sound else [None] * len(values)
        at += length + 8
    return sums
