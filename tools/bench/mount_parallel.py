"""Four readers of one tree and two writers of small files, at once."""

import multiprocessing
import os
import signal

from bench_tools import LONGEST_SECONDS, BenchError

READERS = 4
WRITERS = 2


class Parallel:
    """The processes exist and wait before run() is called."""

    FILE_BYTES = 2000

    def __init__(self, files, file_bytes, folder, files_per_writer):
        context = multiprocessing.get_context("fork")
        self._start = context.Event()
        self._ready = context.Semaphore(0)
        self._bytes_read = context.Value("Q", 0)
        self._expected_bytes = file_bytes
        self._processes = [
            context.Process(target=self._read, args=(files[number::READERS],), daemon=True)
            for number in range(READERS)
        ] + [
            context.Process(
                target=self._write, args=(folder, number, files_per_writer), daemon=True)
            for number in range(WRITERS)
        ]

    def start(self):
        for process in self._processes:
            process.start()
        for _ in self._processes:
            if not self._ready.acquire(timeout=60):
                raise BenchError("a reader or writer did not start")

    def run(self):
        """Lets the processes run, and waits until all have ended."""
        self._start.set()
        for process in self._processes:
            process.join(LONGEST_SECONDS)
        statuses = [process.exitcode for process in self._processes]
        if any(status != 0 for status in statuses):
            raise BenchError("readers and writers ended with %s" % statuses)
        if self._bytes_read.value != self._expected_bytes:
            raise BenchError("the readers saw %d bytes instead of %d" % (
                self._bytes_read.value, self._expected_bytes))

    def stop(self):
        for process in self._processes:
            if process.is_alive():
                process.kill()
                process.join()

    def _wait_for_start(self):
        # An interrupt goes to the parent, which then calls stop().
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._ready.release()
        self._start.wait()

    def _read(self, paths):
        self._wait_for_start()
        total = 0
        for path in paths:
            file = os.open(path, os.O_RDONLY)
            while True:
                count = len(os.read(file, 1 << 17))
                if count == 0:
                    break
                total += count
            os.close(file)
        with self._bytes_read.get_lock():
            self._bytes_read.value += total

    def _write(self, folder, writer, count):
        self._wait_for_start()
        content = b"x" * self.FILE_BYTES
        for number in range(count):
            path = os.path.join(folder, "%d-%d" % (writer, number))
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            os.write(file, content)
            os.close(file)
