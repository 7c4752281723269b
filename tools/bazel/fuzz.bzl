"""varve_fuzz_test: one source as a libFuzzer target and as an ordinary test."""

load("@rules_cc//cc:defs.bzl", "cc_test")

def varve_fuzz_test(name, srcs, corpus = None, deps = [], data = [], tags = [], **kwargs):
    """Builds a source that defines LLVMFuzzerTestOneInput.

    Under --config=fuzz it is linked with libFuzzer. To look for new failures:

        bazel build --config=fuzz //engine/entry:name_fuzz
        bazel-bin/engine/entry/name_fuzz -max_total_time=60 engine/entry/testdata/name_fuzz

    In every other configuration it is a test, which replays each file of its
    corpus and then a fixed number of inputs derived from them.

    Args:
      name: the target, by custom `<what>_fuzz`.
      srcs: the source of the fuzz target.
      corpus: a folder below this package, which may be absent; by default
        `testdata/<name>`. Inputs that once failed are kept there.
      deps: what the source needs.
      data: further files for the test.
      tags: further tags; "fuzz" is always added.
      **kwargs: passed on to cc_test.
    """
    folder = corpus or "testdata/" + name
    package = native.package_name()
    cc_test(
        name = name,
        srcs = srcs,
        # -runs=0 makes libFuzzer replay, too; the replaying main() ignores it.
        args = ["-runs=0", (package + "/" if package else "") + folder],
        data = data + native.glob([folder + "/**"]),
        linkopts = select({
            "//tools/bazel:fuzzing": ["-fsanitize=fuzzer"],
            "//conditions:default": [],
        }),
        tags = tags + ["fuzz"],
        deps = deps + select({
            "//tools/bazel:fuzzing": [],
            "//conditions:default": ["//tools/bazel:fuzz_replay_main"],
        }),
        **kwargs
    )
