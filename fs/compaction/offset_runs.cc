#include "fs/compaction/offset_runs.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"
#include "engine/entry/entry.h"
#include "engine/io/io_util.h"

namespace varve::fs {
namespace {

// So many bytes are written at a time.
constexpr size_t kChunk = size_t{1} << 18;
// Names that are tried for a file.
constexpr int kMostNames = 100;

void Append(uint64_t value, std::string* out) {
  for (int shift = 0; shift < 64; shift += 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

uint64_t Number(const std::byte* bytes, size_t index) {
  uint64_t value = 0;
  for (size_t i = 8; i > 0; --i) {
    value = value << 8 | static_cast<uint64_t>(bytes[8 * index + i - 1]);
  }
  return value;
}

// Eight numbers of eight bytes; the files are read by nobody else.
void Encode(const MovedBytes& moved, std::string* out) {
  const Extent& now = moved.now;
  for (const uint64_t value :
       {moved.old_offset, now.length, now.store_offset, now.key_hash,
        now.entry_offset, now.entry_size, uint64_t{now.entry_crc32},
        uint64_t{now.shared}}) {
    Append(value, out);
  }
}

MovedBytes Decode(const std::byte* bytes) {
  return {.old_offset = Number(bytes, 0),
          .now = {.length = Number(bytes, 1),
                  .store_offset = Number(bytes, 2),
                  .key_hash = Number(bytes, 3),
                  .entry_offset = Number(bytes, 4),
                  .entry_size = Number(bytes, 5),
                  .entry_crc32 = static_cast<uint32_t>(Number(bytes, 6)),
                  .shared = Number(bytes, 7) != 0}};
}

}  // namespace

class OffsetRuns::Writer {
 public:
  explicit Writer(std::unique_ptr<File> file) { run_.file = std::move(file); }

  absl::Status Add(const MovedBytes& moved) {
    if (run_.count++ % kBlock == 0) run_.first.push_back(moved.old_offset);
    Encode(moved, &buffer_);
    return buffer_.size() < kChunk ? absl::OkStatus() : Flush();
  }
  absl::StatusOr<Run> Finish() {
    VARVE_RETURN_IF_ERROR(Flush());
    return std::move(run_);
  }

 private:
  absl::Status Flush() {
    VARVE_RETURN_IF_ERROR(WriteFully(*run_.file, written_, AsBytes(buffer_)));
    written_ += buffer_.size();
    buffer_.clear();
    return absl::OkStatus();
  }

  Run run_;
  uint64_t written_ = 0;
  std::string buffer_;
};

absl::Status OffsetRuns::Run::Read(size_t index) const {
  if (block == index) return absl::OkStatus();
  const uint64_t begin = uint64_t{index} * kBlock;
  std::array<std::byte, kBlock * kRecordSize> bytes;
  const size_t size =
      static_cast<size_t>(std::min<uint64_t>(kBlock, count - begin));
  block.reset();
  VARVE_RETURN_IF_ERROR(
      ReadExactly(*file, begin * kRecordSize,
                  absl::MakeSpan(bytes).first(size * kRecordSize)));
  records.clear();
  for (size_t i = 0; i < size; ++i) {
    records.push_back(Decode(bytes.data() + i * kRecordSize));
  }
  block = index;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> OffsetRuns::Run::CountUpTo(uint64_t offset) const {
  const auto behind = std::upper_bound(first.begin(), first.end(), offset);
  if (behind == first.begin()) return 0;
  const auto index = static_cast<size_t>(behind - first.begin()) - 1;
  VARVE_RETURN_IF_ERROR(Read(index));
  const auto it = std::partition_point(
      records.begin(), records.end(),
      [offset](const MovedBytes& moved) { return moved.old_offset <= offset; });
  return index * kBlock + static_cast<uint64_t>(it - records.begin());
}

absl::StatusOr<MovedBytes> OffsetRuns::Run::At(uint64_t number) const {
  VARVE_RETURN_IF_ERROR(Read(static_cast<size_t>(number / kBlock)));
  return records[number % kBlock];
}

absl::StatusOr<std::unique_ptr<File>> OffsetRuns::MakeFile() const {
  absl::StatusOr<std::unique_ptr<File>> file;
  for (int i = 0; i < kMostNames; ++i) {
    const std::string name = absl::StrCat(path_, ".", i);
    file = file_system_->Open(name, OpenMode::kCreateNew, 0600);
    // Of another process, which may have been killed at just this point.
    if (absl::IsAlreadyExists(file.status())) continue;
    VARVE_RETURN_IF_ERROR(file.status());
    VARVE_RETURN_IF_ERROR(file_system_->Remove(name));
    return file;
  }
  return file;
}

absl::Status OffsetRuns::Add(const Map& places) {
  if (places.empty()) return absl::OkStatus();
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file, MakeFile());
  Writer writer(std::move(file));
  for (const auto& [old_offset, now] : places) {
    VARVE_RETURN_IF_ERROR(writer.Add({.old_offset = old_offset, .now = now}));
  }
  VARVE_ASSIGN_OR_RETURN(Run run, writer.Finish());
  runs_.push_back(std::move(run));
  return runs_.size() < kMostRuns ? absl::OkStatus() : Merge();
}

absl::Status OffsetRuns::Merge() {
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file, MakeFile());
  Writer writer(std::move(file));
  std::vector<uint64_t> at(runs_.size());  // the next record of each run
  while (true) {
    std::optional<MovedBytes> least;
    size_t from = 0;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (at[i] == runs_[i].count) continue;
      VARVE_ASSIGN_OR_RETURN(const MovedBytes next, runs_[i].At(at[i]));
      if (least.has_value() && least->old_offset <= next.old_offset) continue;
      least = next;
      from = i;
    }
    if (!least.has_value()) break;
    ++at[from];
    VARVE_RETURN_IF_ERROR(writer.Add(*least));
  }
  VARVE_ASSIGN_OR_RETURN(Run all, writer.Finish());
  runs_.clear();
  runs_.push_back(std::move(all));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<MovedBytes>> OffsetRuns::AtOrBefore(
    uint64_t offset) const {
  std::optional<MovedBytes> last;
  for (const Run& run : runs_) {
    VARVE_ASSIGN_OR_RETURN(const uint64_t count, run.CountUpTo(offset));
    if (count == 0) continue;
    VARVE_ASSIGN_OR_RETURN(const MovedBytes moved, run.At(count - 1));
    if (!last.has_value() || moved.old_offset > last->old_offset) last = moved;
  }
  return last;
}

absl::StatusOr<std::optional<MovedBytes>> OffsetRuns::After(
    uint64_t offset) const {
  std::optional<MovedBytes> first;
  for (const Run& run : runs_) {
    VARVE_ASSIGN_OR_RETURN(const uint64_t count, run.CountUpTo(offset));
    if (count == run.count) continue;
    VARVE_ASSIGN_OR_RETURN(const MovedBytes moved, run.At(count));
    if (!first.has_value() || moved.old_offset < first->old_offset) {
      first = moved;
    }
  }
  return first;
}

}  // namespace varve::fs
