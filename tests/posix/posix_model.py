"""A tree of files in memory, which behaves as POSIX and Linux say.

Each operation does what the system call does, or raises the OSError that the
system call ends with. The caller is assumed to be root, or to own everything
and be allowed to read and write it: permissions are the kernel's business.

Of what a crash leaves, the model knows this much: a file whose content was
changed and not committed (by close, fsync or the like) has one of the contents
in Node.base, or the present one.
"""

import errno
import os
import stat

from tests.kit.linux_calls import (
    FALLOC_FL_KEEP_SIZE,
    FALLOC_FL_PUNCH_HOLE,
    FALLOC_FL_ZERO_RANGE,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
)

MAX_NAME = 255
MAX_HOPS = 40
MAX_XATTR = 65536


def fail(number):
    raise OSError(number, os.strerror(number))


class Node:
    """A file, directory, symlink or FIFO."""

    def __init__(self, kind, mode, uid, gid):
        self.kind = kind  # the S_IFMT part of the mode
        self.mode = mode  # the other part
        self.uid = uid
        self.gid = gid
        self.nlink = 2 if kind == stat.S_IFDIR else 1
        self.xattrs = {}
        self.data = bytearray()
        self.target = None  # of a symlink
        self.children = {}
        self.parent = None  # of a directory
        self.can_get_name = False  # made without a name, and has got none yet
        self.ino = None  # learned from the first stat
        self.mtime = None  # in ns, if it was set and not changed since
        self.atime = None  # likewise, and not read since
        self.base = None  # contents that a crash may bring back; None: committed
        self.unsure = False  # a crash may also leave a mixture of them
        self.emptied = False  # truncated to nothing, and nothing written since
        self.released = 0  # how many changes may come before the end of a close

    @property
    def is_dir(self):
        return self.kind == stat.S_IFDIR

    @property
    def is_file(self):
        return self.kind == stat.S_IFREG

    @property
    def is_link(self):
        return self.kind == stat.S_IFLNK

    def change(self):
        """Content is about to change, and is uncommitted from now on."""
        self.mtime = None
        if self.base is None and self.nlink:
            self.base = [bytes(self.data)]
        elif self.released:
            self.may_be_committed()
        self.released = max(0, self.released - 1)

    def committed(self):
        self.base = None
        self.unsure = self.emptied = False

    def may_be_committed(self):
        """What is there now may be what a crash leaves."""
        if self.base is not None and self.base[-1] != self.data:
            self.base.append(bytes(self.data))

    def after_crash(self, content):
        """Takes what a crash has left; returns whether it may have done so."""
        if content != self.data and content not in (self.base or []) and not self.unsure:
            return False
        self.data = bytearray(content)
        self.committed()
        return True

    def resize(self, size):
        if size < len(self.data):
            del self.data[size:]
        else:
            self.data.extend(bytes(size - len(self.data)))

    def write(self, offset, data):
        if not data:
            return
        self.change()
        self.emptied = False
        if offset > len(self.data):
            self.resize(offset)
        self.data[offset : offset + len(data)] = data

    def truncate(self, size):
        self.change()
        self.emptied = size == 0
        self.resize(size)

    def truncate_by_path(self, size):
        """What is committed is cut at once; what is not stays so."""
        was_committed = self.base is None
        self.truncate(size)
        if was_committed:
            self.committed()
        else:
            self.base = [content[:size].ljust(size, b"\0") for content in self.base or []]

    def fallocate(self, mode, offset, length):
        if length <= 0:
            fail(errno.EINVAL)
        if mode & FALLOC_FL_PUNCH_HOLE and not mode & FALLOC_FL_KEEP_SIZE:
            fail(errno.EOPNOTSUPP)
        if mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE):
            fail(errno.EOPNOTSUPP)
        self.change()
        if mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE):
            end = min(offset + length, len(self.data))
            if end > offset:
                self.data[offset:end] = bytes(end - offset)
        if not mode & FALLOC_FL_KEEP_SIZE and offset + length > len(self.data):
            self.emptied = False
            self.resize(offset + length)


class Model:
    """The tree. Paths are relative to its root, without `.` and `..`."""

    def __init__(self):
        self.root = Node(stat.S_IFDIR, 0o755, os.geteuid(), os.getegid())
        self.root.parent = self.root
        self.umask = os.umask(0)
        os.umask(self.umask)

    def all(self):
        """Yields each name as (path, node), directories before what is in them."""
        pending = [("", self.root)]
        while pending:
            path, node = pending.pop()
            yield path, node
            for name, child in node.children.items():
                pending.append((path + "/" + name if path else name, child))

    def walk(self, path, follow, any_name=False):
        """Finds the directory, the last name, and what has this name or None.

        With any_name, the last name may be longer than a name can be.
        """
        parts = path.split("/")
        here = self.root
        hops = 0
        while True:
            name = parts.pop(0)
            if not here.is_dir:
                fail(errno.ENOTDIR)
            if parts or not any_name:
                self._check_name(name)
            node = here.children.get(name)
            if node is not None and node.is_link and (parts or follow):
                hops += 1
                if hops > MAX_HOPS:
                    fail(errno.ELOOP)
                node.atime = None
                parts = node.target.split("/") + parts
            elif not parts:
                return here, name, node
            elif node is None:
                fail(errno.ENOENT)
            else:
                here = node

    @staticmethod
    def _check_name(name):
        if len(os.fsencode(name)) > MAX_NAME:
            fail(errno.ENAMETOOLONG)

    def find(self, path, follow=False):
        if path == "":
            return self.root
        node = self.walk(path, follow)[2]
        return node if node is not None else fail(errno.ENOENT)

    def _add(self, parent, name, node):
        parent.children[name] = node
        parent.mtime = None
        if node.is_dir:
            node.parent = parent
            parent.nlink += 1

    def _take(self, parent, name):
        node = parent.children.pop(name)
        parent.mtime = None
        if node.is_dir:
            parent.nlink -= 1
        return node

    def _make(self, path, kind, mode):
        parent, name, node = self.walk(path, False)
        if node is not None:
            fail(errno.EEXIST)
        return self._new(parent, name, kind, mode)

    def _new(self, parent, name, kind, mode):
        node = self._node(parent, kind, mode)
        self._add(parent, name, node)
        return node

    def _node(self, parent, kind, mode):
        node = Node(kind, mode & ~self.umask, os.geteuid(), os.getegid())
        if parent.mode & stat.S_ISGID:
            node.gid = parent.gid
            if node.is_dir:
                node.mode |= stat.S_ISGID
        return node

    def open(self, path, flags, mode):
        """Returns the node, and whether it is new."""
        exclusive = flags & os.O_CREAT and flags & os.O_EXCL
        parent, name, node = self.walk(path, not exclusive)
        if node is None:
            if not flags & os.O_CREAT:
                fail(errno.ENOENT)
            return self._new(parent, name, stat.S_IFREG, mode), True
        if exclusive:
            fail(errno.EEXIST)
        if node.is_dir and flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR | os.O_TRUNC):
            fail(errno.EISDIR)
        if node.is_dir and flags & os.O_DIRECT:
            fail(errno.EINVAL)
        if flags & os.O_TRUNC:
            node.truncate(0)
        if flags & os.O_ACCMODE == os.O_RDONLY:
            node.atime = None  # taken to be read, as the kernel may have it cached
        return node, False

    def mkdir(self, path, mode):
        return self._make(path, stat.S_IFDIR, mode)

    def mkfifo(self, path, mode):
        return self._make(path, stat.S_IFIFO, mode)

    def symlink(self, target, path):
        node = self._make(path, stat.S_IFLNK, 0o777)
        node.mode = 0o777
        node.target = target
        return node

    def open_unnamed(self, path, flags, mode):
        """open with O_TMPFILE."""
        if flags & os.O_ACCMODE == os.O_RDONLY:
            fail(errno.EINVAL)
        folder = self.find(path, True)
        if not folder.is_dir:
            fail(errno.ENOTDIR)
        node = self._node(folder, stat.S_IFREG, mode)
        node.nlink = 0
        node.can_get_name = not flags & os.O_EXCL
        return node

    def link(self, source, path):
        """Of a path, or of a node that is open."""
        node = source if isinstance(source, Node) else self.find(source)
        parent, name, there = self.walk(path, False)
        if there is not None:
            fail(errno.EEXIST)
        if node.is_dir:
            fail(errno.EPERM)
        if not node.nlink and not node.can_get_name:
            fail(errno.ENOENT)
        self._add(parent, name, node)
        node.nlink += 1
        node.can_get_name = False

    def unlink(self, path):
        parent, name, node = self.walk(path, False)
        if node is None:
            fail(errno.ENOENT)
        if node.is_dir:
            fail(errno.EISDIR)
        self._take(parent, name)
        self._drop(node)

    def _drop(self, node):
        node.nlink = 0 if node.is_dir else node.nlink - 1
        if not node.nlink:
            node.base = None

    def rmdir(self, path):
        parent, name, node = self.walk(path, False)
        if node is None:
            fail(errno.ENOENT)
        if not node.is_dir:
            fail(errno.ENOTDIR)
        if node.children:
            fail(errno.ENOTEMPTY)
        self._take(parent, name)
        self._drop(node)

    @staticmethod
    def _is_within(node, ancestor):
        while node is not ancestor:
            if node.parent is node:
                return False
            node = node.parent
        return True

    def rename(self, source, target, flags):
        """renameat2, with its checks in the kernel's order."""
        parent, name, node = self.walk(source, False, any_name=True)
        new_parent, new_name, there = self.walk(target, False, any_name=True)
        self._check_name(name)
        if node is None:
            fail(errno.ENOENT)
        self._check_name(new_name)
        if flags & RENAME_NOREPLACE and there is not None:
            fail(errno.EEXIST)
        if flags & RENAME_EXCHANGE and there is None:
            fail(errno.ENOENT)
        if node.is_dir and self._is_within(new_parent, node):
            fail(errno.EINVAL)
        if there is not None and there.is_dir and self._is_within(parent, there):
            fail(errno.EINVAL if flags & RENAME_EXCHANGE else errno.ENOTEMPTY)
        if node is there:
            return
        if there is not None and not flags & RENAME_EXCHANGE:
            if node.is_dir and not there.is_dir:
                fail(errno.ENOTDIR)
            if there.is_dir and not node.is_dir:
                fail(errno.EISDIR)
            if there.children:
                fail(errno.ENOTEMPTY)
        self._take(parent, name)
        if there is not None:
            self._take(new_parent, new_name)
            if flags & RENAME_EXCHANGE:
                self._add(parent, name, there)
            else:
                self._drop(there)
        self._add(new_parent, new_name, node)

    def truncate(self, path, size):
        node = self.find(path, True)
        if node.is_dir:
            fail(errno.EISDIR)
        if not node.is_file:
            fail(errno.EINVAL)
        node.truncate_by_path(size)
        return node

    def chmod(self, node, mode):
        node.mode = mode

    def chown(self, node, uid, gid):
        node.uid, node.gid = uid, gid
        if not node.is_dir:
            node.mode &= ~stat.S_ISUID
            if node.mode & stat.S_IXGRP:
                node.mode &= ~stat.S_ISGID
        if node.is_link:
            node.mode = 0o777

    def utime(self, node, atime, mtime):
        node.atime, node.mtime = atime, mtime
        return node

    def set_xattr(self, node, name, value, flags):
        if len(value) > MAX_XATTR:
            fail(errno.E2BIG)
        if name.startswith("user.") and not (node.is_file or node.is_dir):
            fail(errno.EPERM)
        if flags & os.XATTR_CREATE and name in node.xattrs:
            fail(errno.EEXIST)
        if flags & os.XATTR_REPLACE and name not in node.xattrs:
            fail(errno.ENODATA)
        node.xattrs[name] = value

    def remove_xattr(self, node, name):
        if name.startswith("user.") and not (node.is_file or node.is_dir):
            fail(errno.EPERM)
        if name not in node.xattrs:
            fail(errno.ENODATA)
        del node.xattrs[name]
