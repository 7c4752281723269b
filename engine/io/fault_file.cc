#include "engine/io/fault_file.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/base/status.h"

namespace varve {
namespace {

// The pieces cut off after `limit` bytes.
std::vector<struct iovec> FirstBytes(absl::Span<const struct iovec> pieces,
                                     size_t limit) {
  std::vector<struct iovec> result;
  for (struct iovec piece : pieces) {
    piece.iov_len = std::min(piece.iov_len, limit);
    limit -= piece.iov_len;
    if (piece.iov_len > 0) result.push_back(piece);
  }
  return result;
}

std::string Flatten(absl::Span<const struct iovec> pieces, size_t size) {
  std::string bytes;
  for (const struct iovec& piece : FirstBytes(pieces, size)) {
    bytes.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
  }
  return bytes;
}

}  // namespace

class FaultMapping final : public Mapping {
 public:
  FaultMapping(const FaultFileSystem& owner, std::unique_ptr<Mapping> base)
      : Mapping(base->data(), base->length()),
        owner_(owner),
        base_(std::move(base)) {}

  void ReleasePages() const override { base_->ReleasePages(); }
  bool MapIfInMemory(uint64_t offset, uint64_t length) const override {
    return owner_.sees_memory_.load() && base_->MapIfInMemory(offset, length);
  }

 private:
  const FaultFileSystem& owner_;
  const std::unique_ptr<Mapping> base_;
};

class FaultFile final : public File {
 public:
  FaultFile(FaultFileSystem& owner, std::string path,
            std::unique_ptr<File> base)
      : owner_(owner), path_(std::move(path)), base_(std::move(base)) {}

  absl::StatusOr<size_t> ReadAt(uint64_t offset,
                                absl::Span<std::byte> out) override {
    owner_.bytes_asked_.fetch_add(out.size());
    if (const auto verdict = owner_.Judge(kOpRead)) {
      if (verdict->error_number != 0) {
        return SystemError(verdict->error_number, "injected into a read");
      }
      out =
          out.first(std::min(out.size(), std::max<size_t>(1, *verdict->limit)));
    }
    return base_->ReadAt(offset, out);
  }

  absl::StatusOr<size_t> WriteAt(
      uint64_t offset, absl::Span<const struct iovec> pieces) override {
    const auto verdict = owner_.Judge(kOpWrite);
    if (!verdict.has_value()) return WriteAndRecord(offset, pieces);
    const bool fails = verdict->error_number != 0;
    // A write that makes no progress is not a short write.
    const size_t limit =
        fails ? *verdict->limit : std::max<size_t>(1, *verdict->limit);
    const std::vector<struct iovec> some = FirstBytes(pieces, limit);
    if (!fails) return WriteAndRecord(offset, some);
    if (!some.empty()) {
      VARVE_RETURN_IF_ERROR(WriteAndRecord(offset, some).status());
    }
    return SystemError(verdict->error_number, "injected into a write");
  }

  absl::Status Sync() override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpSync, path_));
    return owner_.Record(
        owner_.skips_syncs_.load() ? absl::OkStatus() : base_->Sync(),
        {.op = kOpSync, .path = path_});
  }

  absl::Status BeginWriteOut(uint64_t offset, uint64_t length) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpWriteOut, path_));
    return owner_.Record(
        owner_.skips_syncs_.load() ? absl::OkStatus()
                                   : base_->BeginWriteOut(offset, length),
        {.op = kOpWriteOut, .path = path_, .offset = offset, .length = length});
  }

  absl::Status Truncate(uint64_t size) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpTruncate, path_));
    return owner_.Record(base_->Truncate(size),
                         {.op = kOpTruncate, .path = path_, .length = size});
  }

  absl::Status PunchHole(uint64_t offset, uint64_t length) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpPunchHole, path_));
    return owner_.Record(base_->PunchHole(offset, length), {.op = kOpPunchHole,
                                                            .path = path_,
                                                            .offset = offset,
                                                            .length = length});
  }

  absl::Status Preallocate(uint64_t offset, uint64_t length) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpPreallocate, path_));
    return owner_.Record(base_->Preallocate(offset, length),
                         {.op = kOpPreallocate,
                          .path = path_,
                          .offset = offset,
                          .length = length});
  }

  absl::StatusOr<FileInfo> Info() override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpInfo, path_));
    return base_->Info();
  }

  absl::Status SetOwner(uint32_t owner, uint32_t group) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpSetOwner, path_));
    return base_->SetOwner(owner, group);
  }

  absl::Status LockForReading() override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpReaderLock, path_));
    return base_->LockForReading();
  }

  absl::StatusOr<bool> TryLockOutReaders() override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpReaderLock, path_));
    return base_->TryLockOutReaders();
  }

  void LetReadersIn() override { base_->LetReadersIn(); }

  absl::StatusOr<std::vector<FileXattr>> Xattrs() override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpXattr, path_));
    return base_->Xattrs();
  }

  absl::Status SetXattr(const FileXattr& xattr) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpXattr, path_));
    return base_->SetXattr(xattr);
  }

  absl::StatusOr<std::unique_ptr<Mapping>> Map(uint64_t length) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpMap, path_));
    if (owner_.MappingIsTooLarge(length)) {
      return SystemError(ENOMEM, "injected limit of mappings");
    }
    VARVE_ASSIGN_OR_RETURN(std::unique_ptr<Mapping> base, base_->Map(length));
    return std::make_unique<FaultMapping>(owner_, std::move(base));
  }

  absl::Status LockExclusive(absl::Duration patience) override {
    VARVE_RETURN_IF_ERROR(owner_.Check(kOpLock, path_));
    return base_->LockExclusive(patience);
  }

 private:
  absl::StatusOr<size_t> WriteAndRecord(uint64_t offset,
                                        absl::Span<const struct iovec> pieces) {
    VARVE_ASSIGN_OR_RETURN(const size_t count, base_->WriteAt(offset, pieces));
    VARVE_RETURN_IF_ERROR(
        owner_.Record(absl::OkStatus(), {.op = kOpWrite,
                                         .path = path_,
                                         .offset = offset,
                                         .length = count,
                                         .bytes = Flatten(pieces, count)}));
    return count;
  }

  FaultFileSystem& owner_;
  const std::string path_;
  const std::unique_ptr<File> base_;
};

FaultFileSystem::FaultFileSystem(FileSystem* base) : base_(base) {}
FaultFileSystem::~FaultFileSystem() = default;

void FaultFileSystem::Inject(Fault fault) {
  absl::MutexLock lock(&mutex_);
  fault_ = std::move(fault);
  matched_ = 0;
  hits_ = 0;
}

void FaultFileSystem::Heal() {
  absl::MutexLock lock(&mutex_);
  fault_.reset();
}

int FaultFileSystem::hits() const {
  absl::MutexLock lock(&mutex_);
  return hits_;
}

int FaultFileSystem::Count(FileOps ops) const {
  absl::MutexLock lock(&mutex_);
  return static_cast<int>(
      std::count_if(calls_.begin(), calls_.end(),
                    [ops](FileOp op) { return (op & ops) != 0; }));
}

void FaultFileSystem::set_max_mapping(uint64_t length) {
  absl::MutexLock lock(&mutex_);
  max_mapping_ = length;
}

void FaultFileSystem::StartRecording() {
  absl::MutexLock lock(&mutex_);
  recording_ = true;
}

std::vector<FileEvent> FaultFileSystem::events() const {
  absl::MutexLock lock(&mutex_);
  return events_;
}

std::optional<FaultFileSystem::Verdict> FaultFileSystem::Judge(FileOp op) {
  std::function<void()> before;
  Verdict verdict;
  {
    absl::MutexLock lock(&mutex_);
    calls_.push_back(op);
    if (!fault_.has_value() || (fault_->ops & op) == 0) return std::nullopt;
    ++matched_;
    if (matched_ < fault_->nth || hits_ >= fault_->times) return std::nullopt;
    ++hits_;
    verdict = {.error_number = fault_->error_number,
               .limit = fault_->partial_bytes};
    before = fault_->before;
  }
  if (before != nullptr) before();
  return verdict;
}

absl::Status FaultFileSystem::Check(FileOp op, const std::string& path) {
  const std::optional<Verdict> verdict = Judge(op);
  if (!verdict.has_value() || verdict->error_number == 0) {
    return absl::OkStatus();
  }
  return SystemError(verdict->error_number,
                     absl::StrCat("injected into a call on ", path));
}

bool FaultFileSystem::MappingIsTooLarge(uint64_t length) const {
  absl::MutexLock lock(&mutex_);
  return length > max_mapping_;
}

absl::Status FaultFileSystem::Record(absl::Status status, FileEvent event) {
  absl::MutexLock lock(&mutex_);
  if (status.ok() && recording_) events_.push_back(std::move(event));
  return status;
}

absl::StatusOr<std::unique_ptr<File>> FaultFileSystem::Open(
    const std::string& path, OpenMode mode, uint32_t permissions) {
  VARVE_RETURN_IF_ERROR(Check(kOpOpen, path));
  VARVE_ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                         base_->Open(path, mode, permissions));
  VARVE_RETURN_IF_ERROR(
      Record(absl::OkStatus(), {.op = kOpOpen, .path = path}));
  return std::make_unique<FaultFile>(*this, path, std::move(file));
}

absl::StatusOr<FileInfo> FaultFileSystem::Info(const std::string& path) {
  VARVE_RETURN_IF_ERROR(Check(kOpPathInfo, path));
  return base_->Info(path);
}

absl::StatusOr<SpaceOnDisk> FaultFileSystem::Space(const std::string& path) {
  VARVE_RETURN_IF_ERROR(Check(kOpSpace, path));
  return base_->Space(path);
}

absl::Status FaultFileSystem::Rename(const std::string& from,
                                     const std::string& to) {
  VARVE_RETURN_IF_ERROR(Check(kOpRename, from));
  return Record(base_->Rename(from, to),
                {.op = kOpRename, .path = from, .target = to});
}

absl::Status FaultFileSystem::Link(const std::string& from,
                                   const std::string& to) {
  VARVE_RETURN_IF_ERROR(Check(kOpRename, from));
  return base_->Link(from, to);
}

absl::Status FaultFileSystem::Remove(const std::string& path) {
  VARVE_RETURN_IF_ERROR(Check(kOpRemove, path));
  return Record(base_->Remove(path), {.op = kOpRemove, .path = path});
}

absl::Status FaultFileSystem::SyncDirectoryOf(const std::string& path) {
  VARVE_RETURN_IF_ERROR(Check(kOpSyncDirectory, path));
  return Record(
      skips_syncs_.load() ? absl::OkStatus() : base_->SyncDirectoryOf(path),
      {.op = kOpSyncDirectory, .path = path});
}

}  // namespace varve
