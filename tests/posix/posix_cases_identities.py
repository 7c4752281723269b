"""Cases of chance: several users change one tree, and the right ones may."""

import os
import random

from tests.posix.posix_cases_acls import ACCESS, DEFAULT, acl
from tests.posix.posix_kit import (
    OTHER,
    RENAME_EXCHANGE,
    RENAME_NOREPLACE,
    USER,
    USER_GROUPS,
    case,
    errno_name,
    opened,
    renameat2,
    utimensat,
    write,
    UTIME_NOW,
    UTIME_OMIT,
)

# (user, group, further groups)
IDENTITIES = (
    (0, 0, ()),
    (USER, USER, USER_GROUPS),
    (USER, 2001, ()),
    (OTHER, OTHER, ()),
    (OTHER, OTHER, (2001,)),
    (4000, 2002, ()),
)
IDS = (-1, 0, USER, OTHER, 2001, 2002)
MODES = (
    0o000, 0o400, 0o600, 0o700, 0o644, 0o755, 0o777, 0o775, 0o770, 0o070, 0o007, 0o711, 0o733,
    0o1777, 0o1770, 0o2775, 0o2755, 0o2777, 0o4755, 0o6755, 0o2644, 0o4777, 0o6777, 0o3777,
)
ACLS = (
    "u::rwx g::r-x o::r-x",
    "u::rwx u:2000:rwx g::--- m::rwx o::---",
    "u::rwx u:2000:--- g::rwx m::rwx o::rwx",
    "u::rwx u:3000:rwx u:4000:r-x g::r-x g:2001:rwx m::r-x o::--x",
    "u::rw- g::rw- g:2002:rwx m::rwx o::r--",
    "u::rwx u:3000:rwx g::rwx m::rwx o::rwx",
)
FOLDERS = ("", "a/", "b/", "a/c/")


def switch(identity):
    """Becomes somebody else, and can come back."""
    uid, gid, groups = identity
    os.seteuid(0)
    os.setegid(gid)
    os.setgroups(groups)
    os.seteuid(uid)


def read_some(path):
    with opened(path, os.O_RDONLY | os.O_NONBLOCK) as file:
        return len(os.read(file, 100)) if os.path.isfile(path) else 0


def append_some(path):
    with opened(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK) as file:
        return os.write(file, b"more")


class Crowd:
    """Random operations by random users."""

    def __init__(self, log, seed):
        self._log = log
        self._random = random.Random(seed)

    def _name(self):
        return self._random.choice(FOLDERS) + self._random.choice(("a", "b", "c", "x", "y", "z"))

    def _operation(self):
        pick = self._random.choice
        one, two = self._name(), self._name()
        flags = pick((0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE))
        mode = pick(MODES)
        times = pick(((1, 0), (0, UTIME_NOW), (0, UTIME_OMIT)))
        return pick((
            ("write", write, one, b"content", mode), ("write", write, two, b"other", 0o666),
            ("append", append_some, one), ("read", read_some, one),
            ("mkdir", os.mkdir, one, mode), ("mkdir", os.mkdir, two, 0o777),
            ("unlink", os.unlink, one), ("rmdir", os.rmdir, one), ("list", os.listdir, one),
            ("symlink", os.symlink, pick("abxyz"), one), ("link", os.link, one, two),
            ("rename %d" % flags, renameat2, one, two, flags),
            ("rename %d" % flags, renameat2, two, one, flags),
            ("chmod", os.chmod, one, mode), ("chmod", os.chmod, two, mode),
            ("chown", os.chown, one, pick(IDS), pick(IDS)),
            ("lchown", os.lchown, one, pick(IDS), pick(IDS)),
            ("truncate", os.truncate, one, self._random.randrange(50)),
            ("access", os.access, one, self._random.randrange(8)),
            ("utimes", utimensat, one, times, times), ("stat", os.stat, one),
            ("setxattr", os.setxattr, one, pick(("user.a", "trusted.a")), b"1"),
            ("removexattr", os.removexattr, one, pick(("user.a", ACCESS, DEFAULT))),
            ("ACL", os.setxattr, one, ACCESS, acl(pick(ACLS))),
            ("default ACL", os.setxattr, one, DEFAULT, acl(pick(ACLS))),
            ("mknod", os.mknod, one, 0o10000 | mode), ("umask", os.umask, pick((0, 0o22, 0o77))),
        ))

    def _step(self, step):
        identity = self._random.choice(IDENTITIES)
        label, function, *arguments = self._operation()
        # Opening a fifo would wait; whether it is one, root finds out.
        switch(IDENTITIES[0])
        if function is write and os.path.exists(arguments[0]):
            if not os.path.isfile(arguments[0]) and not os.path.isdir(arguments[0]):
                return
        switch(identity)
        try:
            function(*arguments)
            result = "ok"
        except OSError as error:
            result = errno_name(error.errno)
        what = " ".join(str(argument) for argument in arguments if not isinstance(argument, bytes))
        self._log("%d by %d:%d, %s %s" % (step, *identity[:2], label, what), result)
        switch(IDENTITIES[0])
        if os.path.lexists(arguments[0] if arguments and isinstance(arguments[0], str) else ""):
            self._log.stat("%d, then" % step, arguments[0])

    def run(self, steps):
        os.umask(0)
        for folder in FOLDERS[1:]:
            os.mkdir(folder, 0o777)
        for step in range(steps):
            self._step(step)


@case(root=True)
def crowds(log):
    os.chmod(".", 0o777)
    for seed in range(6):
        os.mkdir("seed%d" % seed)
        os.chmod("seed%d" % seed, 0o777)
        os.chdir("seed%d" % seed)
        Crowd(log, seed).run(500)
        os.chdir("..")
