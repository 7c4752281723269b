"""Tests that mount stores."""

def mount_test(name, size, data = [], by_io_uring = False):
    """Runs NAME.py, which mounts stores, alone on the machine.

    Args:
      name: of the target, and of its script.
      size: as for any test.
      data: what it needs besides the command and what all such tests use.
      by_io_uring: whether there is to be a second target, whose mounts get
        their requests through io_uring where the kernel has that.
    """
    common = dict(
        size = size,
        srcs = [name + ".py"],
        data = data + [
            "io_uring.py",
            "junit.py",
            "mounted.py",
            "//tools:varve",
        ],
        # As they measure times, fill disks and turn the kernel's switches.
        tags = [
            "exclusive",
            "local",
        ],
    )
    native.sh_test(name = name, **common)
    if by_io_uring:
        native.sh_test(
            name = name.replace("_test", "_io_uring_test"),
            args = ["--io-uring"],
            **common
        )
