"""Writes stores byte by byte, as docs/format.md has them, and whatever it has not.

The other half of format_reader.py, for tests that need stores which Varve would
never write. It checks nothing, and shares no code with Varve.

    store = StoreWriter()
    store.commit(put_inode(2, FILE), put_name(1, 2, b"name"))
    store.close()
    path.write_bytes(store.data)
"""

import stat
import struct
import zlib
from dataclasses import dataclass

from tests.format.fields import EPOCH_SECONDS
from tests.format.format_reader import (
    CHECKPOINT, CLEAN, IDENTITY_KEY, TOMBSTONE_CRC, align64,
)
from tests.format.reserved_keys import reserved_hash
from tests.format.xxh3 import xxh3_64

FILE = stat.S_IFREG | 0o644
FOLDER = stat.S_IFDIR | 0o755
ALL_TIMES_NOW = 15
MAX_FILE_SIZE = (1 << 63) - 1
MAX_U64 = (1 << 64) - 1
BYSTANDER = b"what is beside the damage"
RECORD_VERSION = 1
SOME_TIME = (EPOCH_SECONDS + 1_700_000_000) << 30


def varint(value):
    result = bytearray()
    while value >= 0x80:
        result.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(result) + bytes([value])


# --- 2. Entries ---------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a payload lies, as extents say it."""

    start: int
    size: int
    key_hash: int
    crc: int

    @property
    def end(self):
        return self.start + self.size + 20


def value_entry(tail, key_hash, payload):
    """The bytes of a value that begins behind `tail`, and its place."""
    place = Place(align64(tail), len(payload), key_hash, zlib.crc32(payload))
    metadata = struct.pack("<QQI", key_hash, tail, place.crc)
    return bytes(place.start - tail) + payload + metadata, place


def tombstone_entry(tail, key_hash):
    return b"\0" + struct.pack("<QQI", key_hash, tail, TOMBSTONE_CRC)


# --- 4. Identity --------------------------------------------------------------


def identity_payload(uuid=b"u" * 16, secret=b"s" * 16, version=2, features=0):
    return (b"VRI1" + struct.pack("<I", version) + uuid + secret
            + struct.pack("<QQ", SOME_TIME, features))


# --- 5. Commit records --------------------------------------------------------


def record(changes, *, sequence, position, batch_begin, flags=0, durable_tail=0, next_ino=1000,
           next_data_id=1000, checkpoint=0, version=RECORD_VERSION):
    """The payload of a commit record. This is the one place that knows its form."""
    numbers = (sequence, position, batch_begin, durable_tail, next_ino, next_data_id, checkpoint)
    header = b"VRC1" + bytes([version, flags]) + struct.pack("<Q", SOME_TIME)
    return header + b"".join(map(varint, numbers)) + b"".join(changes)


def change(kind, body, size=None):
    """One change; `size` is what it claims of its body."""
    return bytes([kind]) + varint(len(body) if size is None else size) + body


def put_inode(ino, mode, *, uid=0, gid=0, rdev=0, size=0):
    numbers = (ino, mode, uid, gid, rdev, size, 0)
    return change(1, b"".join(map(varint, numbers)) + bytes([ALL_TIMES_NOW]))


def drop_inode(ino):
    return change(2, varint(ino))


def put_name(parent, ino, name):
    return change(3, varint(parent) + varint(ino) + name)


def drop_name(parent, name):
    return change(4, varint(parent) + name)


def set_content(ino, *extents):
    return change(5, varint(ino) + b"".join(extents))


def patch_content(ino, *extents):
    return change(6, varint(ino) + b"".join(extents))


def set_xattr(ino, name, value):
    return change(7, varint(ino) + varint(len(name)) + name + value)


def drop_xattr(ino, name):
    return change(8, varint(ino) + name)


def keep_unfinished(begin, end):
    return change(9, varint(begin) + varint(end))


def file_with(ino, parent, name, content, **attributes):
    """The changes of a small file whose bytes lie in the record."""
    return [put_inode(ino, attributes.pop("mode", FILE), size=len(content), **attributes),
            put_name(parent, ino, name), set_content(ino, inline(0, content))]


def folder(ino, parent, name):
    return [put_inode(ino, FOLDER), put_name(parent, ino, name)]


# 5.3


def part(offset, length, place, entry_offset=0, entry_size=None, kind=0):
    """Bytes of an entry, or what claims to be that; kind 4 is a shared one."""
    return (bytes([kind]) + varint(offset) + varint(length) + varint(place.start + entry_offset)
            + struct.pack("<QI", place.key_hash, place.crc) + varint(entry_offset)
            + varint(place.size if entry_size is None else entry_size))


def hole(offset, length):
    return b"\1" + varint(offset) + varint(length)


def inline(offset, content, length=None):
    return b"\2" + varint(offset) + varint(len(content) if length is None else length) + content


def whole(place, length=None):
    return (b"\3" + varint(0) + varint(place.size if length is None else length)
            + varint(place.start) + struct.pack("<QI", place.key_hash, place.crc))


class StoreWriter:
    """The bytes of a store, which begins with an identity."""

    def __init__(self, secret=b"s" * 16, identity=None, begin=0):
        """`begin` is where the bytes will lie, if not at the start of a file."""
        self.data = bytearray()
        self.secret = secret
        self.sequence = 0
        self.begin = begin
        if identity is None:
            identity = identity_payload(secret=secret)
        self.value(xxh3_64(IDENTITY_KEY), identity)

    def tail(self):
        return self.begin + len(self.data)

    def value(self, key_hash, payload):
        data, place = value_entry(self.tail(), key_hash, payload)
        self.data += data
        return place

    def plain(self, path, content):
        """The entry that a plain file lies in."""
        return self.value(xxh3_64(path), content)

    def tombstone(self, key_hash):
        self.data += tombstone_entry(self.tail(), key_hash)

    def commit(self, *changes, **header):
        """Appends a record with the next sequence number, or as `header` says."""
        header.setdefault("sequence", self.sequence + 1)
        header.setdefault("position", align64(self.tail()))
        header.setdefault("batch_begin", self.tail())
        header.setdefault("durable_tail", self.tail())
        self.sequence = header["sequence"]
        if header.get("flags", 0) & CHECKPOINT:
            key_hash = reserved_hash(self.secret, b"k")
        else:
            key_hash = reserved_hash(self.secret, b"c", self.sequence)
        return self.value(key_hash, record(changes, **header))

    def close(self, **header):
        """Marks the store as closed properly."""
        return self.commit(flags=CLEAN, **header)


# --- Stores that nobody should write --------------------------------------------
#
# Each yields labels and changes, which follow sound ones in forged() below.


def names():
    for name in (b"a/b", b"/etc/passwd", b"../outside", b".", b"..", b"", b"a\0b", b"\0",
                 b"n" * 256, b"n" * 70000):
        label = repr(name[:12])
        yield label + " is put", file_with(9, 1, name, b"x")
        yield label + " is dropped", [drop_name(1, name)]


def trees():
    cycle = [put_inode(9, FOLDER), put_inode(8, FOLDER), put_name(9, 8, b"b"), put_name(8, 9, b"a")]
    yield "a directory in itself", folder(9, 1, b"d") + [put_name(9, 9, b"self")]
    yield "a cycle beside the tree", cycle
    yield "a directory moved into its own", (
        folder(9, 1, b"a") + folder(8, 9, b"b") + [drop_name(1, b"a"), put_name(8, 9, b"a")])
    yield "a name of the root", folder(9, 1, b"d") + [put_name(9, 1, b"root")]
    yield "two names of a directory", folder(9, 1, b"a") + [put_name(1, 9, b"b")]
    yield "one name twice", file_with(9, 1, b"a", b"x") + file_with(8, 1, b"a", b"y")
    yield "a name in a file", file_with(9, 1, b"a", b"x") + [put_name(9, 9, b"b")]
    yield "a name in nothing", [put_inode(9, FILE), put_name(77, 9, b"a")]
    yield "a name of nothing", [put_name(1, 77, b"a")]
    yield "an orphan", [put_inode(9, FILE)]
    yield "a tree of orphans", [put_inode(9, FOLDER)] + file_with(8, 9, b"inside", b"x")
    yield "the root is dropped", [drop_inode(1)]
    yield "what is in use is dropped", [drop_inode(2)]
    yield "nothing is dropped", [drop_inode(77)]
    yield "a file becomes a directory", [put_inode(2, FOLDER)]
    yield "inode 0", [put_inode(0, FILE)]
    for ino in (1 << 62, MAX_U64):
        yield "inode %d" % ino, file_with(ino, 1, b"f", b"x")
    yield "a directory with content", folder(9, 1, b"d") + [set_content(9, inline(0, b"x"))]


def file_of(size, *extents):
    return [put_inode(9, FILE, size=size), put_name(1, 9, b"f"), set_content(9, *extents)]


def extents():
    for label, start_ in (("behind the end", 1 << 30), ("at 2^63", 1 << 63), ("at 2^64", MAX_U64)):
        yield "an entry " + label, (lambda place, at=start_: file_of(
            place.size, whole(Place(at, place.size, place.key_hash, place.crc))))
    yield "beyond its entry", (lambda place: file_of(
        4096, part(0, 4096, place)))
    yield "an entry of 2^64 bytes", (lambda place: file_of(
        4096, part(0, 4096, place, 0, MAX_U64)))
    yield "a place that wraps round", (lambda place: file_of(
        4096, part(0, 4096, place, MAX_U64 - place.start, MAX_U64)))
    yield "another key", (lambda place: file_of(
        place.size, whole(Place(place.start, place.size, place.key_hash ^ 1, place.crc))))
    yield "the metadata of an entry", (lambda place: file_of(
        20, whole(Place(place.start + place.size, 20, place.key_hash, place.crc))))
    yield "an extent of nothing", file_of(10, hole(0, 0))
    yield "an extent beyond the largest file", file_of(10, hole(MAX_FILE_SIZE, 2))
    yield "an extent that wraps round", file_of(10, hole(MAX_U64, 2))
    yield "more inline than there is", file_of(10, inline(0, b"x", 1 << 40))
    yield "an unknown kind of extent", file_of(10, b"\x09" + varint(0) + varint(1))


def sizes():
    yield "a file of 2^63 bytes", [put_inode(9, FILE, size=1 << 63), put_name(1, 9, b"f")]
    yield "a body of 2^63 bytes", [change(1, b"x", 1 << 63)]
    yield "a body that ends too early", [change(1, varint(9))]
    yield "a number of eleven bytes", [change(2, b"\x80" * 10 + b"\1")]
    yield "an attribute of 65537 bytes", [set_xattr(2, b"user.a", bytes(65537))]
    yield "an attribute without a name", [set_xattr(2, b"", b"x")]
    yield "an attribute with a NUL", [set_xattr(2, b"user.\0", b"x")]
    yield "an attribute's name of 2^60 bytes", [change(7, varint(2) + varint(1 << 60) + b"user.a")]


def allowed():
    """What the format allows, and is out of all proportion: changes, and fields of the header."""
    yield "the largest file", [put_inode(9, FILE, size=MAX_FILE_SIZE), put_name(1, 9, b"f")], {}
    yield "a patch at its end", [
        put_inode(9, FILE, size=MAX_FILE_SIZE), put_name(1, 9, b"f"),
        patch_content(9, inline(MAX_FILE_SIZE - 1, b"x"))], {}
    yield "100,000 extents", file_of(200_000, *(
        inline(2 * i, b"x") for i in range(100_000))), {}
    for field in ("next_ino", "next_data_id", "durable_tail", "checkpoint", "batch_begin"):
        yield "%s 2^62" % field, [], {field: 1 << 62}
        yield "%s 2^64 - 1" % field, [], {field: MAX_U64}
    yield "unfinished: all", [keep_unfinished(1, MAX_U64)], {"next_data_id": 1 << 40}
    yield "unfinished: backwards", [keep_unfinished(9, 1)], {}


def forged(changes, header=None, clean=True):
    """A store with a bystander, and then with these changes (of the place of an entry)."""
    writer = StoreWriter()
    place = writer.plain(b"entry", b"an entry" * 8)
    writer.commit(put_inode(1, FOLDER), *file_with(2, 1, b"bystander", BYSTANDER),
                  put_inode(3, FILE, size=place.size), put_name(1, 3, b"entry"),
                  set_content(3, whole(place)))
    writer.commit(*(changes(place) if callable(changes) else changes), **(header or {}))
    if clean:
        writer.close(**{name: value for name, value in (header or {}).items()
                        if name.startswith("next")})
    return bytes(writer.data)
