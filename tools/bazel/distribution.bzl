"""Binds the Bazel rules and libraries that the distribution has installed.

Written for Debian 12, whose Bazel 4.2.3 knows no MODULE.bazel. This file and
system.BUILD.bazel are the only ones that know where things are installed.
"""

_RULES = "/usr/share/bazel/rules"

# Bazel 4.2.3 has toolchains, but not the helper that names one.
_TOOLCHAIN_HELPER = "use_cpp_toolchain"
_TOOLCHAIN = '["@bazel_tools//tools/cpp:toolchain_type"]'
_FILES_WITH_HELPER = [
    "cc/private/rules_impl/cc_flags_supplier.bzl",
    "cc/private/rules_impl/compiler_flag.bzl",
]

def _rules_cc_impl(repository_ctx):
    source = repository_ctx.path(_RULES + "/cc")
    if not source.exists:
        fail("%s is missing: run tools/setup (package bazel-rules-cc)" % source)
    copied = repository_ctx.execute(["cp", "-R", str(source) + "/.", "."])
    if copied.return_code != 0:
        fail("cannot copy %s: %s" % (source, copied.stderr))
    for name in _FILES_WITH_HELPER:
        text = repository_ctx.read(name)
        text = text.replace(', "%s"' % _TOOLCHAIN_HELPER, "")
        text = text.replace(_TOOLCHAIN_HELPER + "()", _TOOLCHAIN)
        repository_ctx.file(name, text, executable = False)

# Debian's rules_cc, which is newer than its Bazel, made to load.
_rules_cc = repository_rule(
    implementation = _rules_cc_impl,
    local = True,
)

def _system_impl(repository_ctx):
    repository_ctx.file("WORKSPACE", 'workspace(name = "system")\n')
    repository_ctx.symlink(repository_ctx.attr.build_file, "BUILD.bazel")

# Installed libraries. Their headers are on the compiler's own search path.
_system = repository_rule(
    implementation = _system_impl,
    local = True,
    attrs = {"build_file": attr.label(allow_single_file = True)},
)

# `bazel test` asks for both targets even when no coverage is wanted.
_NO_COVERAGE = """
package(default_visibility = ["//visibility:public"])
filegroup(name = "coverage_report_generator")
filegroup(name = "coverage_output_generator")
"""

def distribution_repositories():
    """Declares every external repository of this workspace."""
    _rules_cc(name = "rules_cc")
    native.local_repository(name = "rules_java", path = _RULES + "/java")
    native.local_repository(name = "rules_proto", path = _RULES + "/proto")
    native.new_local_repository(
        name = "remote_coverage_tools",
        path = "tools/bazel",
        build_file_content = _NO_COVERAGE,
    )
    _system(name = "system", build_file = "//tools/bazel:system.BUILD.bazel")
