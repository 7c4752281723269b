"""Random operations on open files, on a mount and on the model alike."""

import errno
import os
import stat

from tests.kit import linux_calls
from tests.kit.linux_calls import PAGE, Mapping

MAX_FILE = 12 << 20
# The kernel waits for no answer when it lets go of an open file, after close or
# munmap; Varve commits then, too. So many changes by others may come before.
RELEASED = 4
ACCESS = (os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_RDWR, os.O_RDWR)


class Handle:
    """An open file: its descriptor, and what the model knows of it."""

    def __init__(self, fd, node, flags):
        self.fd = fd
        self.node = node
        self.flags = flags
        self.wrote = False
        access = flags & os.O_ACCMODE
        self.readable = access != os.O_WRONLY
        self.writable = access != os.O_RDONLY


class MappedFile:
    """A mapping that lives on beside, or after, the handle it was made with."""

    def __init__(self, mapping, handle, offset):
        self.mapping = mapping
        self.handle = handle
        self.node = handle.node
        self.offset = offset
        self.dirty = False


class FileOperations:
    """The part of the random run that needs open files.

    Expects of the class that it is mixed into: rng, model, full(), note(),
    same(), both(), some_path() and others, and the lists handles and mapped.
    """

    MAX_HANDLES = 14
    MAX_MAPPED = 4

    def content(self, size):
        """Random bytes; with long zeros in them now and then."""
        data = bytearray(self.rng.randbytes(min(size, 1 << 16)))
        while len(data) < size:
            data += data[: size - len(data)]
            data[-8:] = self.rng.randbytes(8)
        if self.rng.random() < 0.1:
            begin = self.rng.randrange(size + 1)
            end = self.rng.randrange(begin, size + 1)
            data[begin:end] = bytes(end - begin)
        return bytes(data)

    def some_size(self):
        dice = self.rng.random()
        if dice < 0.5:
            return self.rng.randrange(1, 3000)
        if dice < 0.9:
            return self.rng.randrange(1, 200000)
        if dice < 0.97:
            return PAGE * self.rng.randrange(0, 40)
        return self.rng.randrange(1 << 20, 5 << 20)

    def some_offset(self, node):
        """Within the file, at its end, or some way beyond."""
        size = len(node.data)
        dice = self.rng.random()
        if dice < 0.2:
            offset = 0
        elif dice < 0.7:
            offset = self.rng.randrange(size + 1)
        elif dice < 0.85:
            offset = size
        else:
            offset = size + self.rng.randrange(300000)
        return offset - offset % PAGE if self.rng.random() < 0.3 else offset

    def handle(self, **wanted):
        """An open handle; one that can do what is wanted, most of the time."""
        fit = [
            h for h in self.handles
            if h.node.is_file and all(getattr(h, name) == value for name, value in wanted.items())
        ]
        if fit and self.rng.random() < 0.95:
            return self.rng.choice(fit)
        fit = [h for h in self.handles if h.node.is_file]
        return self.rng.choice(fit) if fit else None

    # Opening and closing

    def op_open(self):
        if len(self.handles) >= self.MAX_HANDLES:
            self.close_handle(self.rng.choice(self.handles))
        flags = self.rng.choice(ACCESS)
        for flag, chance in (
            (os.O_CREAT, 0.7), (os.O_EXCL, 0.3), (os.O_TRUNC, 0.2), (os.O_APPEND, 0.15),
            (os.O_DIRECT, 0.1), (os.O_SYNC, 0.05), (os.O_DSYNC, 0.03),
        ):
            if self.rng.random() < chance:
                flags |= flag
        if not flags & os.O_CREAT:
            flags &= ~os.O_EXCL  # means nothing there
        if flags & os.O_ACCMODE == os.O_RDONLY:
            flags &= ~os.O_TRUNC  # is not defined
        path = self.some_path(new=0.5 if flags & os.O_CREAT else 0.05)
        mode = self.some_mode()
        try:
            there = self.model.walk(path, not flags & os.O_EXCL)[2]
            if there is not None and stat.S_ISFIFO(there.kind):
                return  # it would wait for somebody
        except OSError:
            pass
        node, fd = self.both(
            "open %s %#o %#o" % (path, flags, mode),
            lambda: self.model.open(path, flags, mode)[0],
            lambda: os.open(self.full(path), flags, mode),
            compare=False,
        )
        if fd is not None:
            self.note("  fd %d" % fd)
            self.handles.append(Handle(fd, node, flags))
            if node.ino is None:
                node.ino = os.fstat(fd).st_ino

    def close_handle(self, handle):
        self.note("close fd %d" % handle.fd)
        self.handles.remove(handle)
        os.close(handle.fd)
        node = handle.node
        last = not any(other.node is node for other in self.handles + self.mapped)
        # Emptying alone is committed a moment after the last close, so that a
        # crash between emptying and writing leaves no empty file.
        if (handle.wrote or (last and handle.writable)) and not node.emptied:
            self.commit(node)
        else:
            self.maybe_commit(node)
        node.released = RELEASED

    def commit(self, node, mapped_too=True):
        """A file's content has been committed; what is mapped, perhaps not."""
        node.committed()
        for handle in self.handles:
            if handle.node is node:
                handle.wrote = False
        for mapped in self.mapped:
            if mapped.node is node and mapped_too:
                mapped.dirty = False
            elif mapped.node is node and mapped.dirty:
                node.unsure = True
                mapped.handle.wrote = True

    def maybe_commit(self, node):
        """A file's content may have been committed, with mapped pages or without."""
        node.may_be_committed()
        if any(mapped.node is node and mapped.dirty for mapped in self.mapped):
            node.unsure = True

    def op_tmpfile(self):
        if len(self.handles) >= self.MAX_HANDLES:
            self.close_handle(self.rng.choice(self.handles))
        path = self.some_path(wanted=lambda node: node.is_dir)
        mode = self.some_mode()
        flags = self.rng.choice(ACCESS) | self.rng.choice((0, os.O_EXCL))
        node, fd = self.both(
            "open unnamed %s %#o %#o" % (path, flags, mode),
            lambda: self.model.open_unnamed(path, flags, mode),
            lambda: os.open(self.full(path), flags | os.O_TMPFILE, mode), compare=False)
        if fd is not None:
            self.note("  fd %d" % fd)
            self.handles.append(Handle(fd, node, flags))
            node.ino = os.fstat(fd).st_ino

    def op_name_handle(self):
        """Gives an open file a name; most of them have no other."""
        nameless = [h for h in self.handles if h.node.can_get_name]
        if not self.handles:
            return
        handle = self.rng.choice(nameless or self.handles)
        path = self.some_path(new=0.85)
        had_name = handle.node.nlink
        outcome = self.both(
            "link fd %d %s" % (handle.fd, path), lambda: self.model.link(handle.node, path) or 1,
            lambda: os.link("/proc/self/fd/%d" % handle.fd, self.full(path), src_dir_fd=handle.fd),
            compare=False)
        if outcome[0] and not had_name:
            self.commit(handle.node, mapped_too=False)

    def op_close(self):
        if self.handles:
            self.close_handle(self.rng.choice(self.handles))

    def op_fsync(self):
        handle = self.handle()
        if handle is None:
            return
        call = self.rng.choice((os.fsync, os.fdatasync))
        self.both("%s fd %d" % (call.__name__, handle.fd), lambda: None,
                  lambda: call(handle.fd))
        self.commit(handle.node)

    # Reading and writing

    def op_write(self):
        handle = self.handle(writable=True)
        if handle is None:
            return
        node = handle.node
        size, offset = self.some_size(), self.some_offset(node)
        if handle.flags & os.O_DIRECT:
            size, offset = max(size - size % PAGE, PAGE), offset - offset % PAGE
        at = len(node.data) if handle.flags & os.O_APPEND else offset
        if at + size > MAX_FILE:
            return
        data = self.content(size)
        buffers = [data]
        if self.rng.random() < 0.2 and not handle.flags & os.O_DIRECT:
            cut = self.rng.randrange(size + 1)
            buffers = [data[:cut], data[cut:]]
        if handle.flags & os.O_DIRECT:
            buffers = [linux_calls.aligned(data)]

        def model():
            if not handle.writable:
                raise OSError(errno.EBADF, "")
            node.write(at, data)
            return size

        self.both("pwrite fd %d offset %d size %d" % (handle.fd, offset, size), model,
                  lambda: os.pwritev(handle.fd, buffers, offset))
        if handle.writable:
            handle.wrote = handle.wrote or size > 0
            if handle.flags & os.O_DSYNC and size > 0:  # the kernel asks for no sync of nothing
                self.commit(node, mapped_too=False)

    def op_stream(self):
        """Many large writes in a row, with other operations in between."""
        handle = self.handle(writable=True)
        if handle is None or not handle.writable or handle.flags & os.O_DIRECT:
            return
        node = handle.node
        chunk = self.rng.choice((128 << 10, 200000, 1 << 20))
        for _ in range(self.rng.randrange(2, (8 << 20) // chunk)):
            at = len(node.data)
            if at + chunk > MAX_FILE or handle not in self.handles:
                return
            data = self.content(chunk)
            self.both("append fd %d offset %d size %d" % (handle.fd, at, chunk),
                      lambda: node.write(at, data) or chunk,
                      lambda: os.pwrite(handle.fd, data, at))
            handle.wrote = True
            if handle.flags & os.O_DSYNC:
                self.commit(node, mapped_too=False)
            if self.rng.random() < 0.1:
                self.step(quick=True)

    def op_read(self):
        handle = self.handle(readable=True)
        if handle is None:
            return
        size, offset = self.some_size(), self.some_offset(handle.node)
        read = os.pread
        if handle.flags & os.O_DIRECT:
            size, offset = max(size - size % PAGE, PAGE), offset - offset % PAGE
            read = linux_calls.read_direct

        def model():
            if not handle.readable:
                raise OSError(errno.EBADF, "")
            handle.node.atime = None
            return bytes(handle.node.data[offset : offset + size])

        self.both("pread fd %d offset %d size %d" % (handle.fd, offset, size), model,
                  lambda: read(handle.fd, size, offset))

    def op_ftruncate(self):
        handle = self.handle(writable=True)
        if handle is None:
            return
        size = min(self.some_offset(handle.node), MAX_FILE)

        def model():
            if not handle.writable:
                raise OSError(errno.EINVAL, "")
            handle.node.truncate(size)

        self.both("ftruncate fd %d size %d" % (handle.fd, size), model,
                  lambda: os.ftruncate(handle.fd, size))
        handle.wrote = handle.wrote or handle.writable

    def op_fallocate(self):
        handle = self.handle(writable=True)
        if handle is None:
            return
        keep, punch, zero = (linux_calls.FALLOC_FL_KEEP_SIZE, linux_calls.FALLOC_FL_PUNCH_HOLE,
                             linux_calls.FALLOC_FL_ZERO_RANGE)
        mode = self.rng.choice((0, keep, punch | keep, punch | keep, zero, zero | keep, punch,
                                linux_calls.FALLOC_FL_COLLAPSE_RANGE))
        offset = min(self.some_offset(handle.node), MAX_FILE)
        length = min(self.some_size(), MAX_FILE - offset)

        def model():
            if length > 0 and mode != punch and not handle.writable:
                raise OSError(errno.EBADF, "")
            handle.node.fallocate(mode, offset, length)
            # A call that fails changes nothing that a close would commit.
            handle.wrote = handle.wrote or handle.writable

        self.both("fallocate fd %d mode %d offset %d length %d" % (
            handle.fd, mode, offset, length), model,
            lambda: linux_calls.fallocate(handle.fd, mode, offset, length))

    def op_copy_range(self):
        source = self.handle(readable=True)
        target = self.handle(writable=True)
        if source is None or not source.readable or not target.writable:
            return
        if target.flags & os.O_APPEND:
            return
        begin, to = self.some_offset(source.node), self.some_offset(target.node)
        size = self.some_size()
        size = min(size, MAX_FILE - to, max(len(source.node.data) - begin, 0))
        if size <= 0:
            return

        def model():
            if source.node is target.node and abs(begin - to) < size:
                raise OSError(errno.EINVAL, "")
            source.node.atime = None
            target.node.write(to, bytes(source.node.data[begin : begin + size]))

        def real():
            done = 0
            while done < size:
                count = os.copy_file_range(source.fd, target.fd, size - done, begin + done,
                                           to + done)
                if count == 0:
                    raise AssertionError("copied %d of %d bytes" % (done, size))
                done += count

        self.both("copy_file_range fd %d offset %d to fd %d offset %d size %d" % (
            source.fd, begin, target.fd, to, size), model, real)
        target.wrote = True
        if target.flags & os.O_DSYNC:
            self.maybe_commit(target.node)

    def op_seek(self):
        handle = self.handle()
        if handle is None:
            return
        # Holes are told by the daemon, which learns of mapped pages by msync.
        for mapped in self.mapped:
            if mapped.node is handle.node:
                mapped.mapping.sync()
                self.commit(handle.node)
        content = bytes(handle.node.data)
        self.note("seek data fd %d" % handle.fd)
        ranges = linux_calls.data_ranges(handle.fd, len(content))
        self.same(None, linux_calls.holes_lie_about(content, ranges), "byte said to be in a hole")

    def op_fstat(self):
        if not self.handles:
            return
        handle = self.rng.choice(self.handles)
        self.note("fstat fd %d" % handle.fd)
        self.same_status(handle.node, os.fstat(handle.fd), "fd %d" % handle.fd)
        self.same_xattrs(handle.node, handle.fd)

    def op_change_by_handle(self):
        if not self.handles:
            return
        handle = self.rng.choice(self.handles)
        node = handle.node
        if self.rng.random() < 0.3:
            value = self.rng.randbytes(self.rng.randrange(2000))
            self.both("fsetxattr fd %d size %d" % (handle.fd, len(value)),
                      lambda: self.model.set_xattr(node, "user.a", value, 0),
                      lambda: os.setxattr(handle.fd, "user.a", value))
        elif self.rng.random() < 0.5:
            mode = self.some_mode()
            self.both("fchmod fd %d %#o" % (handle.fd, mode),
                      lambda: self.model.chmod(node, mode),
                      lambda: os.fchmod(handle.fd, mode))
        else:
            times = self.some_times()
            self.both("futimens fd %d %r" % (handle.fd, times),
                      lambda: self.model.utime(node, *times),
                      lambda: os.utime(handle.fd, ns=times), compare=False)
            self.forget_mtime(node)

    def forget_mtime(self, node):
        """Mapped pages change the time again when they are written back."""
        if any(mapped.node is node and mapped.dirty for mapped in self.mapped):
            node.mtime = None

    # Mappings

    def op_map(self):
        handle = self.handle(readable=True)
        if handle is None or not handle.node.data:
            return
        if len(self.mapped) >= self.MAX_MAPPED:
            self.unmap(self.rng.choice(self.mapped))
        writable = self.rng.random() < 0.7
        offset = self.rng.randrange(len(handle.node.data)) // PAGE * PAGE
        length = self.rng.randrange(1, len(handle.node.data) - offset + 1)

        def model():
            if not handle.readable or (writable and not handle.writable):
                raise OSError(errno.EACCES, "")

        _, mapping = self.both(
            "mmap fd %d offset %d length %d" % (handle.fd, offset, length), model,
            lambda: Mapping(handle.fd, length, offset, writable), compare=False)
        if mapping is None:
            return
        mapped = MappedFile(mapping, handle, offset)
        mapped.writable = writable
        self.mapped.append(mapped)
        self.use_mapped(mapped)
        if self.rng.random() < 0.5:
            self.unmap(mapped)

    def op_use_mapped(self):
        if self.mapped:
            self.use_mapped(self.rng.choice(self.mapped))

    def use_mapped(self, mapped):
        """Reads through a mapping, and writes; only where the file still is."""
        node = mapped.node
        room = min(mapped.mapping.length, len(node.data) - mapped.offset)
        if room <= 0:
            return
        at = self.rng.randrange(room)
        size = self.rng.randrange(1, min(room - at, 300000) + 1)
        begin = mapped.offset + at
        node.atime = None
        self.note("read mapped: offset %d size %d, inode %s" % (begin, size, node.ino))
        self.same(bytes(node.data[begin : begin + size]), mapped.mapping.read(at, size), "mapped")
        if not mapped.writable:
            return
        data = self.content(size)
        self.note("write mapped: offset %d size %d, inode %s" % (begin, size, node.ino))
        node.write(begin, data)
        mapped.mapping.write(at, data)
        mapped.dirty = True
        mapped.handle.wrote = True
        if self.rng.random() < 0.4:
            self.note("msync")
            mapped.mapping.sync()
            mapped.dirty = False  # but perhaps pages that only others have mapped
            self.commit(node, mapped_too=False)

    def unmap(self, mapped):
        self.note("munmap, inode %s" % mapped.node.ino)
        self.mapped.remove(mapped)
        mapped.mapping.close()
        if mapped.handle not in self.handles:
            self.maybe_commit(mapped.node)
            mapped.node.released = RELEASED

    def op_unmap(self):
        if self.mapped:
            self.unmap(self.rng.choice(self.mapped))
