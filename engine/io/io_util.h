// Whole reads and writes on top of the raw calls of the seam.

#ifndef VARVE_ENGINE_IO_IO_UTIL_H_
#define VARVE_ENGINE_IO_IO_UTIL_H_

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engine/io/file.h"

namespace varve {

// Reads until `out` is full or the file ends; returns the number of bytes read.
absl::StatusOr<size_t> ReadFully(File& file, uint64_t offset,
                                 absl::Span<std::byte> out);

// Like ReadFully(), but it is an error (OUT_OF_RANGE) if the file ends before
// `out` is full.
absl::Status ReadExactly(File& file, uint64_t offset,
                         absl::Span<std::byte> out);

// Writes all pieces one after the other at `offset`, with as few calls as
// possible: one for up to IOV_MAX pieces unless the kernel writes less. Changes
// `pieces` on the way. After an error any part of them may have been written.
absl::Status WriteFully(File& file, uint64_t offset,
                        absl::Span<struct iovec> pieces);
absl::Status WriteFully(File& file, uint64_t offset,
                        absl::Span<const std::byte> bytes);

// Gives `file` to the owner and group of `original` if they differ.
absl::Status KeepOwner(const FileInfo& original, File& file);

// Gives `file` the extended attributes of `original`. A process that is not
// privileged leaves out those that only a privileged one can set.
absl::Status KeepXattrs(File& original, File& file);

// An iovec for constant bytes. Only for calls that do not write through it.
struct iovec PieceOf(absl::Span<const std::byte> bytes);

}  // namespace varve

#endif  // VARVE_ENGINE_IO_IO_UTIL_H_
