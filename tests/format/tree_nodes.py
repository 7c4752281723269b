"""The tree that lies in the store as nodes: docs/format.md, 6.1 to 6.4."""

import stat
from dataclasses import dataclass, field

from tests.format import segment_parity
from tests.format.fields import Damage, Fields
from tests.format.xxh3 import xxh3_64

MAX_RUNS = 12
MAX_LEVEL = 15


@dataclass(frozen=True)
class Segment:
    number: int
    offset: int
    size: int
    live: int


@dataclass(frozen=True)
class Pointer:
    segment: int
    offset: int
    size: int
    checksum: int


def pointer(data):
    fields = Fields(data)
    result = Pointer(fields.varint32(), fields.varint32(), fields.varint32(), fields.u64())
    if fields.more():
        raise Damage("a pointer that is too long")
    return result


# 6.1
class Root:
    def __init__(self, data):
        fields = Fields(data)
        self.node = pointer(fields.take(fields.varint()))
        self.previous, self.log_begin = fields.varint(), fields.varint()
        self.first_data_id = fields.varint()
        self.next_segment = fields.varint32()
        self.segments = {}
        for _ in range(fields.varint()):
            segment = Segment(fields.varint32(), fields.varint(), fields.varint32(),
                              fields.varint32())
            if segment.number <= max(self.segments, default=0) or segment.live > segment.size:
                raise Damage("an impossible segment")
            self.segments[segment.number] = segment
        self.time = fields.u64()
        self.snapshots = [(fields.varint(), fields.varint(), fields.varint())
                          for _ in range(fields.varint())]
        if self.snapshots != sorted(self.snapshots) or 0 in dict(
                (number, True) for number, _, _ in self.snapshots):
            raise Damage("snapshots that are out of order")
        if fields.more():
            raise Damage("a root that is too long")
        self.unfinished = []
        self.named = {}  # snapshots: name -> number, time, flags
        self.kept_from = 0
        self.policy = None
        self.purged = []  # number, path


# 6.2
class Node:
    def __init__(self, data):
        fields = Fields(data)
        self.level, flags = fields.u8(), fields.u8()
        count, prefix_size, base_size = (int.from_bytes(fields.take(2), "little") for _ in range(3))
        self.is_delta = flags == 1
        if flags > 1 or self.is_delta != (base_size > 0) or (self.is_delta and self.level):
            raise Damage("a node of no kind")
        self.base = fields.take(base_size)
        prefix = fields.take(prefix_size)
        slots = [int.from_bytes(fields.take(2), "little") for _ in range(count)]
        self.items = []  # (key, value); None is erased
        for slot in slots:
            if slot != fields.at:
                raise Damage("a node with gaps")
            rest_size, value_size = (int.from_bytes(fields.take(2), "little") for _ in range(2))
            key = prefix + fields.take(rest_size & 0x7FFF)
            value = fields.take(value_size)
            is_erased = rest_size & 0x8000 != 0
            if self.items and key <= self.items[-1][0] or is_erased and not self.is_delta:
                raise Damage("items that are out of order")
            self.items.append((key, None if is_erased else value))
        if not self.items or fields.more() or self.level > MAX_LEVEL:
            raise Damage("a node of an impossible size")


class Reader:
    def __init__(self, root, whole_of):
        self.segments = root.segments
        self.whole = {number: whole_of(segment) for number, segment in root.segments.items()}
        self.nodes = {}
        for number, whole in self.whole.items():
            begin = segment_parity.table_size(root.segments[number].size)
            self.nodes[number] = whole[begin:begin + root.segments[number].size]

    def bytes_at(self, at):
        data = self.nodes.get(at.segment, b"")[at.offset:at.offset + at.size]
        return data if len(data) == at.size and xxh3_64(data) == at.checksum else None

    def node(self, at):
        data = self.bytes_at(at)
        if data is None and at.segment in self.segments:
            self.nodes[at.segment] = segment_parity.recover(
                self.whole[at.segment], self.segments[at.segment].size)
            data = self.bytes_at(at)
        if data is None:
            raise Damage("a node of the tree is damaged")
        return Node(data)

    def items(self, at, level=None, low=b"", high=None):
        """6.3: all items below a node, in order."""
        node = self.node(at)
        if level is not None and node.level != level:
            raise Damage("a node of the wrong level")
        if node.level > 0:
            for i, (key, value) in enumerate(node.items):
                begin = low if i == 0 else key
                end = node.items[i + 1][0] if i + 1 < len(node.items) else high
                yield from self.items(pointer(value), node.level - 1, begin, end)
            return
        runs = [node]
        while runs[-1].is_delta:
            runs.append(self.node(pointer(runs[-1].base)))
            if len(runs) > MAX_RUNS or runs[-1].level > 0:
                raise Damage("deltas without a leaf")
        merged = {}
        for run in reversed(runs):
            merged.update(run.items)
        for key in sorted(merged):
            if key < low or high is not None and key >= high:
                raise Damage("an item in the wrong leaf")
            if merged[key] is not None:
                yield key, merged[key]


# 6.4
@dataclass
class Whole:
    store_offset: int
    key_hash: int
    crc: int


@dataclass
class Item:
    attributes: dict = field(default_factory=dict)
    names: list = field(default_factory=list)  # (name, ino), by place
    links: list = field(default_factory=list)  # (directory, name), the first one first
    places: list = field(default_factory=list)  # (directory, place) of them
    whole: Whole = None
    extents: list = field(default_factory=list)  # (file offset, encoded extent)
    xattrs: dict = field(default_factory=dict)


def _read_inode(item, value):
    fields = Fields(value)
    bits = fields.u8()
    a = item.attributes
    a["mode"], a["uid"], a["gid"], a["rdev"] = (fields.varint32() for _ in range(4))
    a["size"] = fields.varint((1 << 63) - 1)
    a["generation"] = fields.varint32()
    a["mtime"] = fields.u64()
    a["atime"] = a["mtime"] if bits & 1 else fields.u64()
    a["ctime"] = a["mtime"] if bits & 2 else fields.u64()
    a["btime"] = a["ctime"] if bits & 4 else fields.u64()
    fields.varint32()  # links
    if bits & 8:
        item.places.insert(0, (fields.varint(), fields.varint()))
    if stat.S_ISDIR(a["mode"]):
        fields.varint(), fields.varint()
    if bits & 16:
        item.whole = Whole(fields.varint(), fields.u64(), fields.u32())
    if bits & 32:
        fields.varint(), fields.varint(), fields.varint()
    if bits > 127 or fields.more():
        raise Damage("a malformed inode")


def _big_endian(data):
    return int.from_bytes(data, "big")


def read(root, nodes_of):
    """The inodes of the tree, by number; adds to root.unfinished."""
    inodes, names = {}, {}
    for key, value in Reader(root, nodes_of).items(root.node):
        ino, kind, rest = _big_endian(key[:8]), key[8], key[9:]
        if ino == 0:
            if kind == 17:
                root.unfinished.append((_big_endian(rest), Fields(value).varint()))
            elif kind == 18:
                fields = Fields(value)
                root.named[rest] = (fields.varint(), fields.u64(), fields.u8())
            elif kind == 19:
                root.kept_from = Fields(value).varint()
            elif kind == 20:
                root.policy = value
            elif kind == 21:
                root.purged.append((_big_endian(rest[:8]), value))
            continue
        if kind != 1 and ino not in inodes:
            raise Damage("an item of no inode")
        item = inodes.setdefault(ino, Item())
        if kind == 1:
            _read_inode(item, value)
        elif kind == 2:
            fields = Fields(value)
            fields.u8()  # type
            named, name = fields.varint(), fields.name()
            item.names.append((name, named))
            names[ino, _big_endian(rest)] = name
        elif kind == 4:
            item.places.append((_big_endian(rest[:8]), _big_endian(rest[8:])))
        elif kind == 5:
            name = rest[:-2]
            item.xattrs[name] = item.xattrs.get(name, b"") + value
        elif kind == 6:
            item.extents.append((_big_endian(rest), value))
    for item in inodes.values():
        for place in item.places:
            if place not in names:
                raise Damage("an inode without its name")
            item.links.append((place[0], names[place]))
    return inodes
