#!/usr/bin/env python3
"""An independent reader of stores, written from docs/format.md alone.

It shares no code with Varve, is slow, and never writes. Section numbers in the
comments are those of the document.

    format_reader.py STORE            lists the tree
    format_reader.py --entries STORE  lists the chain, oldest entry first
"""

import stat
import struct
import sys
import zlib
from dataclasses import dataclass, field

from tests.format import block_sums, segment_parity, tree_nodes
from tests.format.fields import (
    UNIX_EPOCH, CutShort, Damage, Fields, NotAStore, TooNew, nanoseconds, time_now)
from tests.format.reserved_keys import reserved_hash, reserved_key
from tests.format.xxh3 import xxh3_64

METADATA_SIZE = 20
TOMBSTONE_CRC = 0xD202EF8D
CLEAN, CHECKPOINT, ROOT, SEGMENT = 1, 2, 4, 8
KNOWN_FLAGS = CLEAN | CHECKPOINT | ROOT | SEGMENT
INLINE = 2
MAX_ID = 1 << 55
DIGEST, ROOT_ITEM = 10, 11
DIGEST_SIZE = 10
IDENTITY_KEY = b"\0varve"


def align64(offset):
    return (offset + 63) & ~63


# --- 2. Entries ---------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    key_hash: int
    start: int  # of the payload
    size: int
    prev_tail: int
    crc: int
    is_tombstone: bool

    @property
    def metadata(self):
        return self.start + self.size

    @property
    def end(self):
        return self.metadata + METADATA_SIZE


def entry_at(data, metadata):
    """The entry with metadata at that offset, or None: 2.1. No checksum."""
    if metadata < 1 or metadata + METADATA_SIZE > len(data):
        return None
    key_hash, prev_tail, crc = struct.unpack_from("<QQI", data, metadata)
    if key_hash == prev_tail == crc == 0:
        return None
    if prev_tail + 1 == metadata and data[prev_tail] == 0:
        return Entry(key_hash, prev_tail, 1, prev_tail, crc, True)
    start = align64(prev_tail)
    if start < metadata:
        return Entry(key_hash, start, metadata - start, prev_tail, crc, False)
    return None


def matches_checksum(data, entry):
    return zlib.crc32(data[entry.start:entry.metadata]) == entry.crc


def is_whole(data, entry):
    return entry is not None and matches_checksum(data, entry)


def chain(data, tail):
    """The entries from the one that ends at `tail` to the oldest, or None."""
    entries = []
    while tail > 0:
        entry = entry_at(data, tail - METADATA_SIZE)
        if entry is None:
            return None
        entries.append(entry)
        tail = entry.prev_tail
    return entries


# --- 3. Recovery --------------------------------------------------------------


def next_end(data, tail):
    """Where the entry that follows `tail` ends, or None: rule 2.2."""
    entry = entry_at(data, tail + 1)
    if entry and entry.is_tombstone and entry.prev_tail == tail and entry.crc == TOMBSTONE_CRC:
        return entry.end
    word = struct.pack("<Q", tail)
    at = data.find(word, align64(tail) + 1 + 8)
    while at >= 0:
        entry = entry_at(data, at - 8)
        if entry and not entry.is_tombstone and is_whole(data, entry):
            return entry.end
        at = data.find(word, at + 1)
    return None


def is_sound(data, tail):
    entries = chain(data, tail)
    if not entries:
        return entries is not None
    first = entries[-1]
    if matches_checksum(data, first):
        return True
    end = next_end(data, 0)
    return end is None or end >= first.end


def find_tail(data):
    """Rules 1 to 3."""
    size = len(data)
    if size == 0:
        return 0
    if is_whole(data, entry_at(data, size - METADATA_SIZE)) and is_sound(data, size):
        return size
    tail = 0
    for metadata in range(size - METADATA_SIZE, 0, -1):
        entry = entry_at(data, metadata)
        if entry and entry.crc and is_sound(data, entry.prev_tail) and is_whole(data, entry):
            tail = entry.end
            break
    while (end := next_end(data, tail)) is not None:
        tail = end
    if tail == 0:
        raise NotAStore("no valid entry")
    return tail


def find_durable_tail(data, tail, vouched_by):
    """Rule 4; `vouched_by` says how much an entry vouches for, or 0."""
    for metadata in range(len(data) - METADATA_SIZE, tail, -1):
        entry = entry_at(data, metadata)
        if entry and entry.prev_tail >= tail and is_whole(data, entry):
            if vouched_by(entry) > tail:
                raise Damage("the chain breaks at %d" % tail)
    durable, result = 0, tail
    for entry in chain(data, tail):
        if entry.end <= durable:
            break
        if not matches_checksum(data, entry):
            result = entry.prev_tail
        elif durable == 0:
            durable = vouched_by(entry)
    return result


@dataclass
class Extent:
    offset: int  # in the file
    length: int
    store_offset: int = -1  # a hole
    key_hash: int = 0
    crc: int = 0
    entry_offset: int = 0
    entry_size: int = 0

    def cut(self, begin, end):
        """The part within [begin, end) of the file."""
        skip = max(0, begin - self.offset)
        length = min(end, self.offset + self.length) - self.offset - skip
        is_hole = self.store_offset < 0
        return Extent(
            self.offset + skip, length, -1 if is_hole else self.store_offset + skip,
            self.key_hash, self.crc, self.entry_offset + skip, self.entry_size,
        )


@dataclass
class Inode:
    mode: int = stat.S_IFDIR | 0o755
    uid: int = 0
    gid: int = 0
    rdev: int = 0
    size: int = 0
    generation: int = 0
    atime: int = UNIX_EPOCH
    mtime: int = UNIX_EPOCH
    ctime: int = UNIX_EPOCH
    btime: int = UNIX_EPOCH
    names: dict = field(default_factory=dict)  # of a directory: name -> ino
    links: list = field(default_factory=list)  # (parent, name)
    extents: list = field(default_factory=list)  # disjoint, no holes
    xattrs: dict = field(default_factory=dict)

    def is_dir(self):
        return stat.S_ISDIR(self.mode)

    def nlink(self, inodes):
        if not self.is_dir():
            return len(self.links)
        return 2 + sum(inodes[ino].is_dir() for ino in self.names.values())


ATTRIBUTES = ("mode", "uid", "gid", "rdev", "size", "generation")
TIMES = ("atime", "mtime", "ctime", "btime")


class Record:
    """A commit record or checkpoint: its header, and where its changes are."""

    def __init__(self, data, entry):
        self.entry = entry
        self.fields = Fields(data, entry.start, entry.metadata)
        if self.fields.take(4) != b"VRC1":
            raise Damage("no commit record")
        self.version = self.fields.u8()
        self.flags = self.fields.u8()
        self.time = self.fields.u64()
        self.sequence = self.fields.varint()
        rest = 0 if self.version > 1 else 6
        (self.position, self.batch_begin, self.durable_tail, self.next_ino,
         self.next_data_id, self.checkpoint) = (
             [self.fields.varint() for _ in range(rest)] or [0] * 6)

    def root(self):
        """Of a checkpoint with a root: the body of the item that says where it is."""
        fields = Fields(self.fields.data, self.fields.at, self.fields.end)
        if not self.flags & ROOT or fields.u8() != ROOT_ITEM:
            raise Damage("a checkpoint without a root")
        return fields.take(fields.varint())

    def nodes(self):
        """Of a segment."""
        return self.fields.data[self.fields.at:max(self.fields.at, self.fields.end - DIGEST_SIZE)]

    def changes(self):
        fields = Fields(self.fields.data, self.fields.at, self.fields.end)
        while fields.more():
            kind = fields.u8()
            start = fields.at - 1
            size = fields.varint()
            fields.take(size)
            if kind == DIGEST:
                self._check_digest(fields, start, size)
                return
            yield kind, Fields(fields.data, fields.at - size, fields.at)


    def _check_digest(self, fields, start, size):
        """5.4: of all before it in the payload, behind which nothing comes."""
        digest = struct.unpack("<Q", fields.data[fields.at - size:fields.at])[0]
        if size != 8 or fields.more() or digest != xxh3_64(fields.data[self.entry.start:start]):
            raise Damage("the digest of commit %d is wrong" % self.sequence)


# --- 4. to 10. The tree -------------------------------------------------------


class Tree:
    """The tree in the bytes of a store, as of its last commit."""

    def __init__(self, data):
        self.data = data
        self.tail = find_tail(data)
        self.chain = chain(data, self.tail)
        self._index()
        self._read_identity()
        tail = find_durable_tail(data, self.tail, self._vouched_by)
        if tail != self.tail:
            self.tail = tail
            self.chain = chain(data, tail)
            self._index()
        self._check_length()
        self.inodes = {1: Inode()}
        self.unfinished = []
        self.snapshots, self.kept_from, self.policy = {}, 0, None
        self.purged = []  # number, path
        self.unknown_kinds = set()
        self.last_sequence = 0
        self.next_data_id = 1
        self.is_clean = False
        self._replay()

    def _index(self):
        self.newest = {}
        for entry in self.chain:
            self.newest.setdefault(entry.key_hash, entry)

    def _in_chain(self, extent):
        """The newest entry of the chain that an extent may mean: 10."""
        values = (e for e in self.chain if not e.is_tombstone)
        return next((e for e in values if self._is_meant(e, extent)), None)

    def live(self, key_hash):
        entry = self.newest.get(key_hash)
        return None if entry is None or entry.is_tombstone else entry

    def payload(self, entry):
        if not matches_checksum(self.data, entry):
            raise Damage("the entry at %d is damaged" % entry.start)
        return self.data[entry.start:entry.metadata]

    # 2.7
    def sums_of(self, entry):
        """The block sums of an entry, one for each block, or None."""
        key_hash = block_sums.key_hash_for(self.secret, entry.key_hash)
        start = align64(entry.end)
        behind = entry_at(self.data, start + block_sums.payload_size(entry.size))
        for found in (behind, self.live(key_hash)):
            if (found is None or found.is_tombstone or found.key_hash != key_hash
                    or found.end > self.tail):
                continue
            sums = block_sums.read(self.data[found.start:found.metadata],
                                   entry.key_hash, entry.crc, entry.size)
            if sums is not None:
                return sums
        return None

    def is_sums(self, entry):
        if entry.is_tombstone:
            return False
        key = block_sums.key_in(self.data[entry.start:entry.metadata])
        return key is not None and block_sums.key_hash_for(self.secret, key) == entry.key_hash

    def _check(self, entry, begin, end):
        """Compares what lies in [begin, end) of the payload with its checksums."""
        sums = self.sums_of(entry)
        touched = [(block, sum_of) for block, sum_of in
                   zip(block_sums.blocks(entry.size), sums or [])
                   if block[0] < end and begin < block[1]]
        if not touched or any(sum_of is None for _, sum_of in touched):
            self.payload(entry)
            return
        for (first, last), sum_of in touched:
            if zlib.crc32(self.data[entry.start + first:entry.start + last]) != sum_of:
                raise Damage("bytes %d to %d of the entry at %d are damaged" % (
                    first, last, entry.start))

    # 4
    def _read_identity(self):
        # Section 4: the oldest. The chain begins with the newest entry.
        key_hash = xxh3_64(IDENTITY_KEY)
        entries = [e for e in self.chain if e.key_hash == key_hash and not e.is_tombstone]
        if not entries:
            raise NotAStore("the store has no tree")
        entry = entries[-1]
        fields = Fields(self.payload(entry))
        if fields.take(4) != b"VRI1":
            raise Damage("the identity is malformed")
        version = fields.u32()
        self.uuid, self.secret, self.created = fields.take(16), fields.take(16), fields.u64()
        if version != 2 or fields.u64() != 0:
            raise TooNew("format version %d" % version)
        self.least_length = fields.u64() if entry.size >= 64 else 0

    def _check_length(self):
        if len(self.data) < self.least_length and not any(map(self.record_in, self.chain)):
            raise CutShort("%d of at least %d bytes" % (len(self.data), self.least_length))

    def reserved_hash(self, kind, number=0):
        return reserved_hash(self.secret, kind, number)

    def _is_reserved(self, key_hash):
        """4, rule 1."""
        hashes = (xxh3_64(IDENTITY_KEY), self.reserved_hash(b"k"), self.reserved_hash(b"i"))
        return (reserved_key(self.secret, key_hash) is not None
                or any(bin(key_hash ^ other).count("1") <= 1 for other in hashes))

    # 5
    def record_in(self, entry):
        """The commit record or checkpoint that an entry is, or None."""
        if entry.is_tombstone:
            return None
        try:
            record = Record(self.data, entry)
        except Damage:
            return None
        if record.flags & SEGMENT:
            expected = self.reserved_hash(b"n", record.sequence)
        elif record.flags & CHECKPOINT:
            expected = self.reserved_hash(b"k")
        else:
            expected = self.reserved_hash(b"c", record.sequence)
        return record if expected == entry.key_hash else None

    def _vouched_by(self, entry):
        record = self.record_in(entry)
        if record is None or record.version > 1 or record.position != entry.start:
            return 0
        return entry.end if record.flags & CLEAN else min(record.durable_tail, entry.end)

    # 7, 10
    @staticmethod
    def _lies_in_append_of(entry, later):
        """5: content that looks like a record; `later` is the next one in the chain."""
        return (later is not None and later.version <= 1 and later.position == later.entry.start
                and 0 < later.batch_begin <= entry.start)

    def _find_records(self):
        needed, stop, met_checkpoint = [], None, False
        for entry in self.chain:
            if stop is not None and entry.end <= stop:
                break
            record = self.record_in(entry)
            if record is None or self._lies_in_append_of(entry, needed[-1] if needed else None):
                continue
            if record.flags & SEGMENT:
                continue
            needed.append(record)
            if record.version > 1:
                continue
            if record.flags & CHECKPOINT and entry.metadata not in self.passed_over:
                if not met_checkpoint:
                    stop, met_checkpoint = self._log_begin(record), True
            elif stop is None and record.checkpoint not in self.passed_over:
                stop = record.checkpoint
        begins_with_identity = self.chain[-1].key_hash == xxh3_64(IDENTITY_KEY)
        self.is_relocated = any(
            r.version <= 1 and (r.position != r.entry.start or (
                r.flags & CHECKPOINT and r.batch_begin == 0 and not begins_with_identity))
            for r in needed)
        if not self.is_relocated:
            return needed
        records = map(self.record_in, self.chain)
        return [record for record in records if record and not record.flags & SEGMENT]

    # 6.1
    def _log_begin(self, checkpoint):
        try:
            root = tree_nodes.Root(checkpoint.root())
        except Damage:
            root = None
        before = checkpoint.entry.prev_tail
        return before if root is None else min(root.log_begin, before)

    def _whole_of(self, segment):
        """The bytes of a segment's nodes, with what lies around them."""
        if not self.is_relocated:
            table = segment_parity.table_size(segment.size)
            behind = (segment_parity.padding(segment.size) + table +
                      segment_parity.PARITY * segment_parity.BLOCK)
            return self.data[segment.offset - table:segment.offset + segment.size + behind]
        entry = self.live(self.reserved_hash(b"n", segment.number))
        record = None if entry is None else self.record_in(entry)
        return b"" if record is None else record.nodes()

    def _load_root(self, record):
        root = tree_nodes.Root(record.root())
        inodes = {1: Inode()}
        for ino, item in tree_nodes.read(root, self._whole_of).items():
            inode = inodes[ino] = Inode()
            for name in ATTRIBUTES + TIMES:
                setattr(inode, name, item.attributes[name])
            inode.names = dict(item.names)
            inode.links = list(item.links)
            inode.xattrs = item.xattrs
            for offset, extent in item.extents:
                inode.extents += self._extents_at(extent, record, offset)
            if item.whole is not None:
                inode.extents.append(Extent(0, inode.size, item.whole.store_offset,
                                            item.whole.key_hash, item.whole.crc, 0, inode.size))
        self.inodes, self.unfinished = inodes, root.unfinished
        self.snapshots, self.kept_from, self.policy = root.named, root.kept_from, root.policy
        self.purged = root.purged

    def _extents_at(self, value, record, offset):
        if value[:1] == bytes([INLINE]):
            raise Damage("an item with bytes in it")
        extents = list(self._extents(Fields(value), record))
        if len(extents) != 1 or extents[0].offset != 0 or extents[0].store_offset < 0:
            raise Damage("an item is no extent")
        extents[0].offset = offset
        return extents

    def _replay(self):
        """7: a checkpoint that is damaged or missing is passed over."""
        self.passed_over = set()  # metadata offsets
        while True:
            try:
                self._replay_from_newest()
                return
            except Damage:
                if self.first == 0 or self.first in self.passed_over:
                    raise
                self.passed_over.add(self.first)
                self.inodes, self.unfinished, self.last_sequence = {1: Inode()}, [], 0
                self.snapshots, self.kept_from, self.policy = {}, 0, None
                self.purged = []

    def _replay_from_newest(self):
        self.first = 0  # metadata offset of the checkpoint that counts
        records = self._find_records()
        behind = []
        for entry in self.chain:
            if self.record_in(entry):
                break
            if entry.key_hash != self.reserved_hash(b"i"):
                behind.append(entry)
        records.sort(key=lambda r: (r.sequence, r.flags & CHECKPOINT, r.entry.start))
        first = max((i for i, r in enumerate(records) if r.flags & CHECKPOINT
                     and r.entry.metadata not in self.passed_over), default=0)
        if records and records[first].flags & CHECKPOINT:
            self.first = records[first].entry.metadata
        elif records:
            self.first = records[-1].checkpoint
        for record in records[first:]:
            is_checkpoint = record.flags & CHECKPOINT != 0
            if is_checkpoint and record is not records[first]:
                continue
            if not is_checkpoint and record.sequence != self.last_sequence + 1:
                raise Damage("commit %d is missing" % (self.last_sequence + 1))
            self.payload(record.entry)
            if record.version > 1 or record.flags & ~KNOWN_FLAGS:
                raise TooNew("version %d, flags %d" % (record.version, record.flags))
            if max(record.next_ino, record.next_data_id) > MAX_ID:
                raise Damage("an impossible number")
            if is_checkpoint and not record.flags & ROOT:
                raise TooNew("a checkpoint without a root, of an early version")
            if is_checkpoint:
                self._load_root(record)
            else:
                for kind, body in record.changes():
                    self._apply(kind, body, record)
            self.last_sequence = record.sequence
            self.next_data_id = max(self.next_data_id, record.next_data_id)
            self.is_clean = record.flags & CLEAN != 0
        if self.is_clean:
            self._take_over([] if self.is_relocated else behind)

    # 5.2
    def _apply(self, kind, body, record):
        handlers = {
            1: self._put_inode, 2: self._drop_inode, 3: self._put_name, 4: self._drop_name,
            5: self._set_content, 6: self._patch_content, 7: self._set_xattr,
            8: self._drop_xattr, 9: self._keep_unfinished,
            12: self._put_snapshot, 13: self._drop_snapshot, 14: self._forget_before,
            15: self._set_policy, 16: self._note_author, 17: self._purge_path,
        }
        if kind in handlers:
            handlers[kind](body, record)
        else:
            self.unknown_kinds.add(kind)

    def _inode(self, ino):
        if ino not in self.inodes:
            raise Damage("no inode %d" % ino)
        return self.inodes[ino]

    def _put_inode(self, body, record):
        ino = body.varint()
        put = {name: body.varint32() for name in ATTRIBUTES[:4]}
        put["size"] = body.varint((1 << 63) - 1)
        put["generation"] = body.varint32()
        is_now = body.u8()
        for i, name in enumerate(TIMES):
            put[name] = record.time if is_now & (1 << i) else body.u64()
        if not 0 < ino < MAX_ID:
            raise Damage("inode %d" % ino)
        inode = self.inodes.get(ino)
        if inode is None:
            inode = self.inodes[ino] = Inode(mode=put["mode"])
        if stat.S_IFMT(inode.mode) != stat.S_IFMT(put["mode"]):
            raise Damage("an inode changes its type")
        if put["size"] != inode.size:
            inode.extents = [
                e.cut(0, put["size"]) for e in inode.extents if e.offset < put["size"]
            ]
        for name, value in put.items():
            setattr(inode, name, value)

    def _drop_inode(self, body, _):
        ino = body.varint()
        inode = self._inode(ino)
        if inode.links or inode.names or ino == 1:
            raise Damage("an inode in use is dropped")
        del self.inodes[ino]

    def _lies_within(self, ino, directory):
        while ino != directory:
            if not self.inodes[ino].links:
                return False
            ino = self.inodes[ino].links[0][0]
        return True

    def _touch(self, record, parent, inode):
        if record.flags & CHECKPOINT:
            return
        parent.mtime = parent.ctime = inode.ctime = record.time

    def _put_name(self, body, record):
        parent_ino, ino = body.varint(), body.varint()
        name = body.name()
        parent, inode = self._inode(parent_ino), self._inode(ino)
        if not parent.is_dir() or name in parent.names:
            raise Damage("a name that cannot be put")
        if inode.is_dir() and (ino == 1 or inode.links or self._lies_within(parent_ino, ino)):
            raise Damage("a directory in itself or in two places")
        parent.names[name] = ino
        inode.links.append((parent_ino, name))
        self._touch(record, parent, inode)

    def _drop_name(self, body, record):
        parent_ino = body.varint()
        name = body.name()
        parent = self._inode(parent_ino)
        if name not in parent.names:
            raise Damage("a name that is not there is dropped")
        inode = self.inodes[parent.names.pop(name)]
        inode.links.remove((parent_ino, name))
        self._touch(record, parent, inode)

    # 5.3
    def _extents(self, body, record):
        while body.more():
            kind = body.u8()
            extent = Extent(body.varint(), body.varint())
            if kind == INLINE:
                extent.store_offset = body.at
                extent.key_hash, extent.crc = record.entry.key_hash, record.entry.crc
                extent.entry_offset = body.at - record.entry.start
                extent.entry_size = record.entry.size
                body.take(extent.length)
            elif kind in (0, 3, 4):
                extent.store_offset, extent.key_hash, extent.crc = (
                    body.varint(), body.u64(), body.u32())
                extent.entry_size = extent.length
                if kind != 3:
                    extent.entry_offset, extent.entry_size = body.varint(), body.varint()
                if (extent.entry_offset > extent.store_offset
                        or extent.store_offset + extent.entry_size + METADATA_SIZE >= 1 << 63
                        or extent.entry_offset + extent.length > extent.entry_size):
                    raise Damage("an extent beyond its entry")
            elif kind != 1:
                raise Damage("an extent of the unknown kind %d" % kind)
            if extent.length == 0 or extent.offset + extent.length > (1 << 63) - 1:
                raise Damage("an extent of an impossible length")
            yield extent

    def _patch_content(self, body, record):
        inode = self._inode(body.varint())
        if inode.is_dir():
            raise Damage("a directory gets content")
        for new in self._extents(body, record):
            end = new.offset + new.length
            kept = []
            for old in inode.extents:
                if old.offset < new.offset:
                    kept.append(old.cut(old.offset, new.offset))
                if old.offset + old.length > end:
                    kept.append(old.cut(end, old.offset + old.length))
            inode.extents = [e for e in kept if e.length > 0]
            if new.store_offset >= 0:
                inode.extents.append(new)

    def _set_content(self, body, record):
        self._inode(Fields(body.data, body.at, body.end).varint()).extents = []
        self._patch_content(body, record)

    def _set_xattr(self, body, _):
        inode = self._inode(body.varint())
        name = body.take(body.varint())
        value = body.rest()
        if not 1 <= len(name) <= 255 or b"\0" in name or len(value) > 65536:
            raise Damage("an impossible extended attribute")
        inode.xattrs[name] = value

    def _drop_xattr(self, body, _):
        inode = self._inode(body.varint())
        if inode.xattrs.pop(body.rest(), None) is None:
            raise Damage("an extended attribute that is not there is dropped")

    def _keep_unfinished(self, body, _):
        self.unfinished.append((body.varint(), body.varint()))

    def _put_snapshot(self, body, _):
        number, time, flags, name = body.varint(), body.u64(), body.u8(), body.name()
        if name in self.snapshots:
            raise Damage("a snapshot of a name that is taken")
        self.snapshots[name] = (number, time, flags)

    def _drop_snapshot(self, body, _):
        if self.snapshots.pop(body.name(), None) is None:
            raise Damage("a snapshot that is not there is dropped")

    def _forget_before(self, body, _):
        self.kept_from = max(self.kept_from, body.varint())

    def _set_policy(self, body, _):
        self.policy = body.rest()
        if len(self.policy) > 1024:
            raise Damage("a policy that is too long")

    def _note_author(self, body, _):
        body.varint32()
        if body.more():
            if body.varint32() == 0 or len(body.rest()) > 64:
                raise Damage("a malformed author")

    def _purge_path(self, body, _):
        number, path = body.varint(), body.rest()
        if len(path) > 4096:
            raise Damage("a purged path that is too long")
        for name in path.split(b"/"):
            Fields(name).name()
        self.purged.append((number, path))

    # 9
    def _take_over(self, behind):
        newest = {}
        for entry in behind:
            if not self._is_reserved(entry.key_hash):
                newest.setdefault(entry.key_hash, entry)
        if self.is_relocated:
            newest = self._deleted_since()
            lain_in = self._entries_in_use()
        elif not newest:
            return
        now = time_now()
        paths = {}
        for path, ino in self.walk():
            if stat.S_ISREG(self.inodes[ino].mode):
                paths.setdefault(ino, []).append((path, xxh3_64(path)))
        for ino, names in paths.items():
            inode = self.inodes[ino]
            dropped, written = [], []
            for path, key_hash in names:
                entry = newest.get(key_hash)
                if entry is not None and entry.is_tombstone:
                    if self._whole_key(inode) == key_hash:
                        dropped.append(self._link_of(path))
                elif self.is_relocated:
                    written.append(self._new_after_move(inode, key_hash, lain_in))
                else:
                    written.append(entry)
            for entry in sorted(filter(None, written), key=lambda e: e.end)[-1:]:
                inode.size = entry.size
                inode.mtime = inode.ctime = now
                inode.extents = [Extent(
                    0, entry.size, entry.start, entry.key_hash, entry.crc, 0, entry.size)]
            for parent, name in dropped:
                inode.links.remove((parent, name))
                del self.inodes[parent].names[name]
                directory = self.inodes[parent]
                directory.mtime = directory.ctime = inode.ctime = now
            if not inode.links:
                del self.inodes[ino]

    # 10
    def _deleted_since(self):
        """The tombstones of keys that another program has deleted after its compaction."""
        deleted = {}
        for entry in self.chain:
            record = self.record_in(entry)
            if record and record.position == entry.start:
                break
            if entry.is_tombstone and self.newest[entry.key_hash] is entry:
                deleted[entry.key_hash] = entry
        return deleted

    def _entries_in_use(self):
        starts = set()
        for inode in self.inodes.values():
            for extent in inode.extents:
                entry = self._entry_of(extent)
                if entry is not None:
                    starts.add(entry.start)
        return starts

    def _new_after_move(self, inode, key_hash, lain_in):
        """What another program wrote under the key of one of a file's paths: 10."""
        entry = self.live(key_hash)
        if entry is None or entry.start in lain_in:
            return None
        if self._whole_key(inode) == key_hash:
            return entry
        if inode.size > 0 and key_hash not in (extent.key_hash for extent in inode.extents):
            return None
        return None if self._is_named(entry) else entry

    @staticmethod
    def _whole_key(inode):
        """The key hash of the one entry that is all of the file, or None."""
        if len(inode.extents) != 1:
            return None
        extent = inode.extents[0]
        is_whole = extent.offset == 0 and extent.length == extent.entry_size == inode.size
        return extent.key_hash if is_whole else None

    def _is_named(self, entry):
        """Whether a record says that a file's bytes lie in an entry like that."""
        for record in filter(None, map(self.record_in, self.chain)):
            for kind, body in record.changes():
                if kind in (5, 6):
                    body.varint()
                    for e in self._extents(body, record):
                        if (e.key_hash, e.crc, e.entry_size) == (
                                entry.key_hash, entry.crc, entry.size):
                            return True
        return False

    def _link_of(self, path):
        directory, _, name = path.rpartition(b"/")
        return (self.resolve(directory), name)

    # --- For users ---

    def walk(self, ino=1, prefix=b""):
        """(path, inode number) of everything below a directory, sorted."""
        for name, child in sorted(self.inodes[ino].names.items()):
            yield prefix + name, child
            if self.inodes[child].is_dir():
                yield from self.walk(child, prefix + name + b"/")

    def resolve(self, path):
        ino = 1
        for name in path.split(b"/") if path else ():
            ino = self.inodes[ino].names[name]
        return ino

    # 8
    def content(self, ino):
        inode = self.inodes[ino]
        content = bytearray(inode.size)
        for extent in inode.extents:
            extent = extent.cut(0, inode.size)
            at = self._find(extent)
            if extent.length > 0:
                content[extent.offset:extent.offset + extent.length] = (
                    self.data[at:at + extent.length])
        return bytes(content)

    def _find(self, extent):
        """Where the bytes of an extent are: 5.3, 10."""
        entry = self._entry_of(extent)
        if entry is None:
            raise Damage("the bytes of an extent are not in the store")
        self._check(entry, extent.entry_offset, extent.entry_offset + extent.length)
        return entry.start + extent.entry_offset

    def _entry_of(self, extent):
        start = extent.store_offset - extent.entry_offset
        entry = entry_at(self.data, start + extent.entry_size)
        if self._is_meant(entry, extent) and entry.start == start:
            return entry
        return self._in_chain(extent) if self.is_relocated else None

    def _is_meant(self, entry, extent):
        return (entry is not None and entry.end <= self.tail
                and (entry.key_hash, entry.crc, entry.size)
                == (extent.key_hash, extent.crc, extent.entry_size))

    # 9
    def unnamed(self):
        """The live entries that belong to nothing, newest first."""
        reserved = {xxh3_64(IDENTITY_KEY), self.reserved_hash(b"i")}
        for number in range(1, self.next_data_id):
            if not any(begin <= number < end for begin, end in self.unfinished):
                reserved.add(self.reserved_hash(b"d", number))
        used = {self._find(e) - e.entry_offset for i in self.inodes.values() for e in i.extents}
        return [
            entry for entry in self.chain
            if self.live(entry.key_hash) is entry and entry.start not in used
            and entry.key_hash not in reserved and self.record_in(entry) is None
            and not self.is_sums(entry)
        ]


def describe(tree):
    for path, ino in tree.walk():
        inode = tree.inodes[ino]
        line = "%s %d %d:%d %12d %s" % (
            stat.filemode(inode.mode), inode.nlink(tree.inodes), inode.uid, inode.gid,
            inode.size, path.decode(errors="surrogateescape"),
        )
        if stat.S_ISLNK(inode.mode):
            line += " -> " + tree.content(ino).decode(errors="surrogateescape")
        yield line
    for entry in tree.unnamed():
        yield "unnamed %016x %d bytes" % (entry.key_hash, entry.size)


def main(arguments):
    with open(arguments[-1], "rb") as file:
        data = file.read()
    if "--entries" in arguments:
        for entry in reversed(chain(data, find_tail(data))):
            kind = "tombstone" if entry.is_tombstone else "value"
            print("%12d %12d %016x %s" % (entry.start, entry.size, entry.key_hash, kind))
        return
    for line in describe(Tree(data)):
        print(line.encode(errors="surrogateescape").decode(errors="replace"))


if __name__ == "__main__":
    main(sys.argv[1:])
