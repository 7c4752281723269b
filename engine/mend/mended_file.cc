#include "engine/mend/mended_file.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/page_size.h"
#include "engine/base/status.h"
#include "engine/io/forwarding_file.h"
#include "engine/io/io_util.h"

namespace varve {
namespace {

absl::Status ReadOnly() {
  return SystemError(EROFS, "a damaged store is only read");
}

// Lays the mends that concern [offset, offset + size) over the bytes at `out`.
void Overlay(const std::vector<Mend>& mends, uint64_t offset, std::byte* out,
             size_t size) {
  for (const Mend& mend : mends) {
    const uint64_t begin = std::max(mend.offset, offset);
    const uint64_t end =
        std::min(mend.offset + mend.bytes.size(), offset + size);
    if (begin >= end) continue;
    std::memcpy(out + (begin - offset),
                mend.bytes.data() + (begin - mend.offset), end - begin);
  }
}

// The mapping of the file, some of whose pages are replaced by copies.
class MendedMapping final : public Mapping {
 public:
  explicit MendedMapping(std::unique_ptr<Mapping> base)
      : Mapping(base->data(), base->length()), base_(std::move(base)) {}

  // `offset` lies in the page that is replaced. That page goes when the
  // mapping does.
  absl::Status ReplacePage(const std::vector<Mend>& mends, uint64_t offset,
                           File& file) {
    const uint64_t begin = offset - offset % PageSize();
    VARVE_ASSIGN_OR_RETURN(const FileInfo info, file.Info());
    std::vector<std::byte> bytes(
        std::min(PageSize(), info.size - std::min(info.size, begin)));
    VARVE_RETURN_IF_ERROR(ReadExactly(file, begin, absl::MakeSpan(bytes)));
    Overlay(mends, begin, bytes.data(), bytes.size());
    void* const page = const_cast<std::byte*>(data()) + begin;
    if (mmap(page, PageSize(), PROT_READ | PROT_WRITE,
             MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED) {
      return SystemError(errno, "cannot lay mends over a mapping");
    }
    std::memcpy(page, bytes.data(), bytes.size());
    if (mprotect(page, PageSize(), PROT_READ) != 0) {
      return SystemError(errno, "cannot protect mends");
    }
    return absl::OkStatus();
  }

 private:
  const std::unique_ptr<Mapping> base_;
};

class MendedFile final : public ForwardingFile {
 public:
  MendedFile(std::unique_ptr<File> file, std::vector<Mend> mends)
      : ForwardingFile(std::move(file)), mends_(std::move(mends)) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<std::byte> out) override {
    VARVE_ASSIGN_OR_RETURN(const size_t count, file().ReadAt(offset, out));
    Overlay(mends_, offset, out.data(), count);
    return count;
  }

  absl::StatusOr<std::unique_ptr<Mapping>> Map(uint64_t length) override {
    VARVE_ASSIGN_OR_RETURN(std::unique_ptr<Mapping> base, file().Map(length));
    auto mapping = std::make_unique<MendedMapping>(std::move(base));
    for (const Mend& mend : mends_) {
      const uint64_t end = std::min(mend.offset + mend.bytes.size(), length);
      for (uint64_t at = mend.offset; at < end;
           at += PageSize() - at % PageSize()) {
        VARVE_RETURN_IF_ERROR(mapping->ReplacePage(mends_, at, file()));
      }
    }
    return mapping;
  }

  absl::StatusOr<size_t> WriteAt(uint64_t /*offset*/,
                                 absl::Span<const struct iovec>) override {
    return ReadOnly();
  }
  absl::Status Sync() override { return ReadOnly(); }
  absl::Status BeginWriteOut(uint64_t /*offset*/,
                             uint64_t /*length*/) override {
    return ReadOnly();
  }
  absl::Status Truncate(uint64_t /*size*/) override { return ReadOnly(); }
  absl::Status PunchHole(uint64_t /*offset*/, uint64_t /*length*/) override {
    return ReadOnly();
  }
  absl::Status Preallocate(uint64_t /*offset*/, uint64_t /*length*/) override {
    return ReadOnly();
  }
  absl::Status SetOwner(uint32_t /*owner*/, uint32_t /*group*/) override {
    return ReadOnly();
  }
  absl::Status SetXattr(const FileXattr& /*xattr*/) override {
    return ReadOnly();
  }

 private:
  const std::vector<Mend> mends_;
};

}  // namespace

std::unique_ptr<File> MakeMendedFile(std::unique_ptr<File> file,
                                     std::vector<Mend> mends) {
  return std::make_unique<MendedFile>(std::move(file), std::move(mends));
}

}  // namespace varve
