"""What format_reader.py reads fields with, and the ways in which a store can be wrong."""

import struct
import time

EPOCH_SECONDS = 1 << 31
UNIX_EPOCH = EPOCH_SECONDS << 30  # as a time of the format


class Damage(Exception):
    """The bytes contradict the format, or have been changed."""


class TooNew(Exception):
    """The store needs a newer reader."""


class CutShort(Damage):
    """The end of the store is missing."""


class NotAStore(Exception):
    """No entry was found in a file that is not empty."""


class Fields:
    """Reads fields one after the other; Damage where there is none."""

    def __init__(self, data, at=0, end=None):
        self.data, self.at = data, at
        self.end = len(data) if end is None else end

    def more(self):
        return self.at < self.end

    def take(self, size):
        if size > self.end - self.at:
            raise Damage("cut short")
        self.at += size
        return self.data[self.at - size:self.at]

    def rest(self):
        return self.take(self.end - self.at)

    def u8(self):
        return self.take(1)[0]

    def u32(self):
        return struct.unpack("<I", self.take(4))[0]

    def u64(self):
        return struct.unpack("<Q", self.take(8))[0]

    def varint(self, limit=(1 << 64) - 1):
        value = 0
        for shift in range(0, 70, 7):
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
        else:
            raise Damage("a varint of more than ten bytes")
        if value > limit:
            raise Damage("a varint beyond its limit")
        return value

    def varint32(self):
        return self.varint((1 << 32) - 1)

    def name(self):
        name = self.rest()
        if not 1 <= len(name) <= 255 or name in (b".", b"..") or b"/" in name or b"\0" in name:
            raise Damage("an invalid name")
        return name


def time_now():
    """As a time of the format."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    return (seconds + EPOCH_SECONDS) << 30 | rest


def nanoseconds(timestamp):
    """Since the Unix epoch."""
    seconds = (timestamp >> 30) - EPOCH_SECONDS
    return seconds * 10**9 + min(timestamp & ((1 << 30) - 1), 10**9 - 1)
