"""Cases about directories: listing, positions, link counts, statfs, concurrency."""

import ctypes
import itertools
import os
import random
import shutil
import stat
import threading

from tests.posix.posix_kit import (
    LIBC,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    Folder,
    case,
    errno_name,
    fork,
    ended,
    opened,
    read,
    renameat2,
    write,
)

GETDENTS64 = 217
DT_NAMES = {1: "fifo", 2: "char", 4: "dir", 6: "block", 8: "file", 10: "link", 12: "socket"}


@case
def types_of_entries(log):
    write("file")
    os.mkdir("dir")
    os.symlink("dir", "link")
    os.mkfifo("fifo")
    os.mknod("socket", stat.S_IFSOCK | 0o600)
    if os.geteuid() == 0:
        os.mknod("char", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod("block", stat.S_IFBLK | 0o600, os.makedev(7, 3))
    os.link("file", "second")
    folder = Folder(".")
    log("types", sorted((name, DT_NAMES.get(kind, kind)) for name, kind in folder))
    folder.close()
    os.rename("file", "dir/moved")
    folder = Folder("dir")
    log("moved", sorted((name, DT_NAMES.get(kind, kind)) for name, kind in folder))
    folder.close()
    inodes = {entry.name: entry.inode() == os.lstat(entry.name).st_ino for entry in os.scandir(".")}
    log("inodes agree", sorted(inodes.items()))


@case
def positions_in_a_directory(log):
    for i in range(500):
        write("f%03d" % i)
    folder = Folder(".")
    at = []  # (position before the entry, entry)
    while True:
        position = folder.tell()
        entry = folder.read()
        if entry is None:
            end = position
            break
        at.append((position, entry))
    names = [entry[0] for _, entry in at]
    log("all", len(names) == 502 and len(set(names)) == 502)
    log("dots", sorted(name for name in names if name.startswith(".")))
    chosen = random.Random(1).sample(range(502), 60)
    log("seeks", all(_entry_at(folder, at[i][0]) == at[i][1] for i in chosen))
    folder.seek(at[100][0])
    log("rest after a seek", [entry for entry in folder] == [entry for _, entry in at[100:]])
    folder.seek(end)
    log("at the end", folder.read())
    folder.rewind()
    log("rewound", sorted(name for name, _ in folder) == sorted(names))
    write("new")
    os.unlink("f007")
    folder.rewind()
    after = {name for name, _ in folder}
    log("sees what is new", ("new" in after, "f007" in after))
    folder.close()
    for name in os.listdir("."):
        os.unlink(name)


def _entry_at(folder, position):
    folder.seek(position)
    return folder.read()


@case
def small_buffers(log):
    for i in range(40):
        write("f%02d" % i)
    with opened(".", os.O_RDONLY) as folder:
        buffer = ctypes.create_string_buffer(4096)
        for size in (0, 1, 23, 24, 32, 64):
            os.lseek(folder, 0, 0)
            names = set()
            while (result := LIBC.syscall(GETDENTS64, folder, buffer, size)) > 0:
                offset = 0
                while offset < result:
                    length = int.from_bytes(buffer.raw[offset + 16 : offset + 18], "little")
                    entry = buffer.raw[offset + 19 : offset + length]
                    names.add(entry.partition(b"\0")[0].decode())
                    offset += length
            log("%d bytes" % size, result or sorted(names))
        log.value("lseek before the start", os.lseek, folder, -1, 0)
    os.symlink("target", "s")
    for size in (1, 3, 6, 7):
        log("readlink in %d" % size, LIBC.readlink(b"s", buffer, size))
        log("which is", buffer.raw[:size])


@case
def listing_while_it_changes(log):
    stay = {"stay%04d" % i for i in range(2000)}
    for name in stay:
        write(name)
    for i in range(300):
        write("go%04d" % i)
    seen = []
    folder = Folder(".")
    step = 0
    while (entry := folder.read()) is not None:
        seen.append(entry[0])
        if step % 7 == 0 and step < 2100:
            os.unlink("go%04d" % (step // 7))
            write("come%04d" % step)
        if step % 50 == 0:
            os.rename("come%04d" % 0 if step == 0 else "moving%d" % (step - 50), "moving%d" % step)
        step += 1
    folder.close()
    kept = [name for name in seen if name in stay]
    log("each that stays", sorted(kept) == sorted(stay))
    log("nothing twice", len(seen) == len(set(seen)))
    for name in os.listdir("."):
        os.unlink(name)


@case
def listing_while_threads_change_it(log):
    os.mkdir("d")
    stay = {"stay%04d" % i for i in range(1500)}
    for name in stay:
        write("d/" + name)
    stop = threading.Event()

    def change(number):
        i = 0
        while not stop.is_set():
            name = "d/t%d-%d" % (number, i % 40)
            write(name)
            os.rename(name, name + "r")
            os.unlink(name + "r")
            i += 1

    threads = [threading.Thread(target=change, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    lost = repeated = 0
    for _ in range(8):
        seen = [name for name in os.listdir("d") if name.startswith("stay")]
        lost += len(stay - set(seen))
        repeated += len(seen) - len(set(seen))
    stop.set()
    for thread in threads:
        thread.join()
    log("lost", lost)
    log("repeated", repeated)
    log("at the end", set(os.listdir("d")) == stay)
    shutil.rmtree("d")


@case
def removing_while_listing(log):
    os.mkdir("d")
    for i in range(1500):
        write("d/f%d" % i)
    with os.scandir("d") as entries:
        for entry in entries:
            os.unlink(entry)
    log("left", len(os.listdir("d")))
    log.do("rmdir", os.rmdir, "d")


@case
def renaming_while_listing(log):
    os.mkdir("d")
    names = {"f%d" % i for i in range(700)}
    for name in names:
        write("d/" + name)
    seen = []
    with os.scandir("d") as entries:
        for entry in entries:
            seen.append(entry.name)
            if len(seen) > 5000:
                break
            os.rename(entry, "d/x" + entry.name)
    log("each once", sorted(seen) == sorted(names))
    log("left", sorted(os.listdir("d")) == sorted("x" + name for name in names))
    shutil.rmtree("d")


@case
def creating_while_listing(log):
    os.mkdir("d")
    names = {"f%d" % i for i in range(300)}
    for name in names:
        write("d/" + name)
    for size in (4096, 1 << 15):  # Of the buffer: a part of what the daemon answers, and more.
        seen = []
        with opened("d", os.O_RDONLY) as folder:
            while entries := _names_read(folder, size):
                seen += entries
                for i in range(len(entries)):
                    write("d/new-%d-%d" % (size, len(seen) - i))
                if len(seen) > 10000:
                    break
        log("ends", len(seen) <= 10000)
        log("nothing twice", len(seen) == len(set(seen)))
        log("nothing missed", names <= set(seen))
    shutil.rmtree("d")


def _names_read(folder, size):
    buffer = ctypes.create_string_buffer(size)
    end = LIBC.syscall(GETDENTS64, folder, buffer, size)
    names, offset = [], 0
    while offset < end:
        length = int.from_bytes(buffer.raw[offset + 16 : offset + 18], "little")
        names.append(buffer.raw[offset + 19 : offset + length].partition(b"\0")[0].decode())
        offset += length
    return [name for name in names if not name.startswith(".")]


@case
def listing_while_names_are_replaced(log):
    os.mkdir("d")
    os.mkdir("e")
    names = {"f%d" % i for i in range(400)}
    for name in names:
        write("d/" + name)
    stop = threading.Event()

    def replace():
        for i in itertools.count():
            if stop.is_set():
                return
            new = ("d/.new", "e/new")[i % 2]
            write(new)
            os.rename(new, "d/f%d" % (i * 7 % 400))

    thread = threading.Thread(target=replace)
    thread.start()
    lost = repeated = 0
    for _ in range(40):
        seen = [name for name in os.listdir("d") if name in names]
        lost += len(names - set(seen))
        repeated += len(seen) - len(set(seen))
    stop.set()
    thread.join()
    log("lost", lost)
    log("repeated", repeated)
    log("at the end", set(os.listdir("d")) == names)
    shutil.rmtree("d")
    os.rmdir("e")


@case
def seeking_to_a_name_that_is_gone(log):
    os.mkdir("d")
    for i in range(300):
        write("d/f%d" % i)
    folder = Folder("d")
    at = []  # (entry, position behind it)
    while (entry := folder.read()) is not None:
        at.append((entry, folder.tell()))
    for chosen in (5, 100, 250):
        name = at[chosen][0][0]
        if not name.startswith("."):
            os.unlink("d/" + name)
        folder.seek(at[chosen][1])
        log("rest behind it", [entry for entry in folder] == [entry for entry, _ in at[chosen + 1:]
                                                              if os.path.exists("d/" + entry[0])])
    folder.close()
    shutil.rmtree("d")


@case
def link_counts_of_directories(log):
    os.mkdir("d")
    log.stat("new", "d")
    for i in range(5):
        os.mkdir("d/s%d" % i)
    write("d/file")
    log.stat("five", "d")
    os.rename("d/s0", "out")
    log.stat("four", "d")
    os.rename("out", "d/s1")
    log.stat("over another", "d")
    os.rename("d/s1", "d/s2")
    log.stat("three", "d")
    write("f")
    renameat2("d/s2", "f", RENAME_EXCHANGE)
    log.stat("exchanged", "d")
    log.stat("with", ".")
    os.rmdir("d/s3")
    os.rmdir("d/s4")
    log.stat("none", "d")


@case
def size_of_the_file_system(log):
    status = os.statvfs(".")
    log("namemax", status.f_namemax)
    log("block size", status.f_bsize)
    log("fragment size", status.f_frsize)
    log("sane", 0 < status.f_bavail <= status.f_bfree <= status.f_blocks)
    log("flags", status.f_flag & (os.ST_RDONLY | os.ST_NOSUID | os.ST_NODEV | os.ST_NOEXEC))
    write("f")
    with opened("f") as file:
        log("of a descriptor", os.fstatvfs(file).f_namemax)
        log("pathconf", [os.fpathconf(file, name) for name in ("PC_NAME_MAX", "PC_PATH_MAX")])
    log("inodes", status.f_ffree <= status.f_files)


class Shuffle:
    """Random operations on a few names; each result goes into the transcript."""

    NAMES = [a + b for a in ("", "d/", "e/", "d/s/") for b in ("x", "y", "d", "s")]

    def __init__(self, log, seed):
        self._log = log
        self._random = random.Random(seed)

    def _name(self):
        return self._random.choice(self.NAMES)

    def _operation(self):
        one, two = self._name(), self._name()
        flags = self._random.choice((0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE))
        mode = self._random.choice((0o700, 0o755, 0o777))
        data = b"%d" % self._random.randrange(10**6)
        size = self._random.randrange(100)
        return self._random.choice((
            ("write", write, one, data), ("write", write, two, data),
            ("mkdir", os.mkdir, one), ("mkdir", os.mkdir, two),
            ("unlink", os.unlink, one), ("rmdir", os.rmdir, one),
            ("symlink", os.symlink, two, one), ("link", os.link, one, two),
            ("rename %d" % flags, renameat2, one, two, flags),
            ("rename %d" % flags, renameat2, two, one, flags),
            ("mkfifo", os.mkfifo, one), ("truncate", os.truncate, one, size),
            ("chmod", os.chmod, one, mode), ("stat", os.stat, one),
            ("setxattr", os.setxattr, one, "user.a", data),
        ))

    def run(self, steps):
        for step in range(steps):
            label, function, *arguments = self._operation()
            try:
                # A fifo would make an open wait.
                if function is write and os.path.exists(arguments[0]):
                    if stat.S_ISFIFO(os.stat(arguments[0]).st_mode):
                        continue
                function(*arguments)
                result = "ok"
            except OSError as error:
                result = errno_name(error.errno)
            self._log("%d %s %s" % (step, label, arguments), result)


@case
def random_names(log):
    for seed in range(3):
        os.mkdir("seed%d" % seed)
        os.chdir("seed%d" % seed)
        Shuffle(log, seed).run(500)
        os.chdir("..")


@case
def concurrent_changes_of_one_directory(log):
    os.mkdir("d")

    def child(number):
        for i in range(50):
            name = "d/%d-%d" % (number, i)
            write(name, b"%d" % i)
            os.mkdir(name + "d")
            os.rename(name, name + "d/f")
            if i % 2:
                os.unlink(name + "d/f")
                os.rmdir(name + "d")

    pids = [fork(child, number) for number in range(4)]
    log("ended", [ended(pid) for pid in pids])
    log.stat("links", "d")
    log("left", sorted(os.listdir("d")) == sorted(
        "%d-%dd" % (number, i) for number in range(4) for i in range(0, 50, 2)
    ))
    log("contents", all(read("d/%s/f" % name) for name in os.listdir("d")))


@case
def moving_directories_between_each_other(log):
    # Two processes move in opposite directions; never may a cycle come to be.
    os.makedirs("a/x")
    os.makedirs("b/y")

    def child(moves):
        for i in range(150):
            old, new = moves[i % len(moves)]
            try:
                os.rename(old, new)
            except OSError:
                pass

    pids = [
        fork(child, [("a", "b/y/a"), ("b/y/a", "a")]),
        fork(child, [("b", "a/x/b"), ("a/x/b", "b")]),
    ]
    log("ended", [ended(pid) for pid in pids])
    found = sorted(name for _, folders, _ in os.walk(".") for name in folders)
    log("nothing is lost", found)
    for folder, _, _ in os.walk("."):
        if os.stat(folder + "/..").st_nlink < 3:
            log("link count", folder)
    for name in found:  # Which is where is a matter of chance.
        for folder, folders, _ in os.walk("."):
            if name in folders:
                os.rename(folder + "/" + name, "done_" + name)
                break
