"""Writes that the caller does not wait for: by io_submit(2), and by io_uring.

Python's standard library has neither. Both classes have

    write(descriptor, data, offset)   begins a write, of memory that is aligned
                                      as O_DIRECT wants it
    wait()                            waits for one to end: its result
"""

import ctypes
import errno
import mmap
import os
import platform
import struct

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

# io_setup, io_destroy, io_submit, io_getevents
_AIO_CALLS = {"x86_64": (206, 207, 209, 208), "aarch64": (0, 1, 2, 4)}.get(platform.machine())
_URING_SETUP, _URING_ENTER = 425, 426  # on every machine

_IOCB_CMD_PWRITE = 1
_IORING_OP_WRITE = 23
_IORING_ENTER_GETEVENTS = 1
_IORING_OFF_CQ_RING = 0x8000000
_IORING_OFF_SQES = 0x10000000
_SQE_SIZE = 64
_CQE_SIZE = 16


def _call(number, *arguments):
    result = _libc.syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return result


def _address(data):
    return ctypes.addressof(ctypes.c_char.from_buffer(data))


def _checked(result):
    if result < 0:
        raise OSError(-result, os.strerror(-result))
    return result


class LinuxAio:
    """By io_submit(2)."""

    @staticmethod
    def is_there():
        return _AIO_CALLS is not None

    def __init__(self, entries=32):
        self._setup, self._destroy, self._submit, self._events = _AIO_CALLS
        self._context = ctypes.c_ulong(0)
        _call(self._setup, ctypes.c_uint(entries), ctypes.byref(self._context))

    def write(self, descriptor, data, offset):
        # struct iocb: data, key, flags of the write, command, priority, descriptor, buffer,
        # length, offset, and what is not used here.
        block = ctypes.create_string_buffer(struct.pack(
            "<QIiHhIQQqQII", 0, 0, 0, _IOCB_CMD_PWRITE, 0, descriptor, _address(data), len(data),
            offset, 0, 0, 0), 64)
        blocks = (ctypes.c_void_p * 1)(ctypes.addressof(block))
        _call(self._submit, self._context, ctypes.c_long(1), blocks)

    def wait(self):
        event = ctypes.create_string_buffer(32)
        _call(self._events, self._context, ctypes.c_long(1), ctypes.c_long(1), event, None)
        return _checked(struct.unpack("<QQqq", event.raw)[2])

    def close(self):
        _call(self._destroy, self._context)


class Uring:
    """By io_uring."""

    @staticmethod
    def is_there():
        try:
            Uring().close()
        except OSError as error:
            if error.errno in (errno.ENOSYS, errno.EPERM):
                return False
            raise
        return True

    def __init__(self, entries=32):
        params = ctypes.create_string_buffer(120)
        self._fd = _call(_URING_SETUP, ctypes.c_uint(entries), params)
        fields = struct.unpack("<10I8IQ8IQ", params.raw)
        self._sq, self._cq = fields[10:18], fields[19:27]  # offsets: head, tail, mask, ...
        sq_size = self._sq[6] + 4 * fields[0]
        cq_size = self._cq[5] + _CQE_SIZE * fields[1]
        self._sq_ring = mmap.mmap(self._fd, sq_size, offset=0)
        self._cq_ring = mmap.mmap(self._fd, cq_size, offset=_IORING_OFF_CQ_RING)
        self._sqes = mmap.mmap(self._fd, _SQE_SIZE * fields[0], offset=_IORING_OFF_SQES)

    @staticmethod
    def _get(ring, at):
        return struct.unpack_from("<I", ring, at)[0]

    def write(self, descriptor, data, offset):
        tail = self._get(self._sq_ring, self._sq[1])
        slot = tail & self._get(self._sq_ring, self._sq[2])
        # struct io_uring_sqe: operation, flags, priority, descriptor, offset, address, length,
        # flags of the write, and what is not used here.
        struct.pack_into("<BBHiQQIIQ24x", self._sqes, slot * _SQE_SIZE, _IORING_OP_WRITE, 0, 0,
                         descriptor, offset, _address(data), len(data), 0, 0)
        struct.pack_into("<I", self._sq_ring, self._sq[6] + 4 * slot, slot)
        struct.pack_into("<I", self._sq_ring, self._sq[1], (tail + 1) & 0xFFFFFFFF)
        self._enter(1, 0)

    def wait(self):
        head = self._get(self._cq_ring, self._cq[0])
        while head == self._get(self._cq_ring, self._cq[1]):
            self._enter(0, 1)
        slot = head & self._get(self._cq_ring, self._cq[2])
        result = struct.unpack_from("<Qi", self._cq_ring, self._cq[5] + slot * _CQE_SIZE)[1]
        struct.pack_into("<I", self._cq_ring, self._cq[0], (head + 1) & 0xFFFFFFFF)
        return _checked(result)

    def _enter(self, submit, complete):
        _call(_URING_ENTER, ctypes.c_int(self._fd), ctypes.c_uint(submit), ctypes.c_uint(complete),
              ctypes.c_uint(_IORING_ENTER_GETEVENTS if complete else 0), None, ctypes.c_size_t(0))

    def close(self):
        for ring in (self._sq_ring, self._cq_ring, self._sqes):
            ring.close()
        os.close(self._fd)
