"""Tests in Python: of everything else, and of mounted stores.

Bazel 4.2.3 starts a py_test with `python`, which Debian does not have. So each
is an sh_test, whose source is the script itself. Scripts import each other by
their path from the root (`from tests.kit import junit`); to run one by hand:

    PYTHONPATH=. tests/posix/posix_test.py
"""

def python_test(name, size, data = [], **kwargs):
    """Runs NAME.py.

    Args:
      name: of the target, and of its script.
      size: as for any test.
      data: what it needs besides what all tests use.
      **kwargs: passed on to sh_test.
    """
    native.sh_test(
        name = name,
        size = size,
        srcs = kwargs.pop("srcs", [name + ".py"]),
        data = data + ["//tests/kit"],
        env = {"PYTHONPATH": "."},
        **kwargs
    )

def mount_test(name, size, data = [], by_io_uring = False):
    """Runs NAME.py, which mounts stores, alone on the machine.

    Args:
      name: of the target, and of its script.
      size: as for any test.
      data: what it needs besides the command and what all tests use.
      by_io_uring: whether there is to be a second target, whose mounts get
        their requests through io_uring where the kernel has that.
    """
    common = dict(
        size = size,
        srcs = [name + ".py"],
        data = data + ["//tools:varve"],
        # As they measure times, fill disks and turn the kernel's switches.
        tags = [
            "exclusive",
            "local",
        ],
    )
    python_test(name = name, **common)
    if by_io_uring:
        python_test(
            name = name.replace("_test", "_io_uring_test"),
            args = ["--io-uring"],
            **common
        )
