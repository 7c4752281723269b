#include "tools/bench/tree_large.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/base/descriptor.h"
#include "engine/entry/block_sums.h"
#include "tools/bench/tree_figures.h"
#include "tools/bench/tree_files.h"

namespace varve::bench {
namespace {

using nlohmann::json;

constexpr uint64_t kMiB = uint64_t{1} << 20;
// What the kernel asks for when it reads ahead, and for a page.
constexpr uint64_t kAhead = uint64_t{128} << 10;
constexpr uint64_t kPage = 4096;
// Blocks of which a few bytes are read.
constexpr uint64_t kMostAtRandom = 1000;
constexpr char kName[] = "large";

// Takes replies as the kernel does: it copies them from the mapping.
class Reader {
 public:
  explicit Reader(const Arguments& arguments)
      : files_(arguments.store, Options(kNever)),
        sink_(memfd_create("sink", MFD_CLOEXEC)),
        handle_(Must(files_.volume().Open(files_.Find(fs::kRootIno, kName),
                                          O_RDONLY))) {}
  ~Reader() {
    Must(files_.volume().Release(std::move(handle_)));
    files_.Close();
  }

  void Read(uint64_t offset, uint64_t size) {
    const auto reply = Must(files_.volume().Read(*handle_, offset, size));
    const auto& pieces = reply.pieces();
    if (reply.size() != size ||
        pwritev(sink_.get(), pieces.data(), static_cast<int>(pieces.size()),
                0) != static_cast<ssize_t>(size)) {
      FailTree("a piece of the large file cannot be read");
    }
  }
  double ReadAll(uint64_t size) {
    return SecondsOf([&] {
      for (uint64_t at = 0; at < size; at += kAhead) Read(at, kAhead);
    });
  }

 private:
  TreeFiles files_;
  const Descriptor sink_;
  std::unique_ptr<fs::Handle> handle_;
};

void MakeFile(const Arguments& arguments) {
  fs::VolumeOptions options = Options(kNever);
  options.create = true;
  TreeFiles files(arguments.store, options);
  auto [stat, handle] = Must(files.volume().Create(
      fs::kRootIno, kName, 0644, O_WRONLY, fs::Caller{.uid = 1000}));
  std::mt19937_64 random(1);
  std::string content(kMiB, '\0');
  for (size_t at = 0; at < content.size(); at += sizeof(uint64_t)) {
    const uint64_t value = random();
    content.replace(at, sizeof(value), reinterpret_cast<const char*>(&value),
                    sizeof(value));
  }
  for (uint64_t at = 0; at < arguments.mebibytes * kMiB; at += kMiB) {
    Must(files.volume().Write(*handle, at, content));
  }
  Must(files.volume().Flush(*handle));
  Must(files.volume().Release(std::move(handle)));
  files.Close();
}

// Has the host forget the store, which must be closed. Where it keeps its files
// in memory it has nowhere else to keep them.
void DropFromMemory(const std::string& path) {
  const Descriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fdatasync(file.get()) != 0 ||
      posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED) != 0) {
    FailTree("the host cannot be told to forget the store");
  }
}

}  // namespace

json ReadALargeFile(const Arguments& arguments) {
  const uint64_t size = arguments.mebibytes * kMiB;
  MakeFile(arguments);
  const uint64_t blocks = CountBlocks(size);
  std::vector<uint64_t> picked(std::min(kMostAtRandom, blocks));
  std::map<std::string, std::vector<double>> seconds;
  for (int round = 0; round < arguments.rounds; ++round) {
    DropFromMemory(arguments.store);
    seconds["disk"].push_back(Reader(arguments).ReadAll(size));
    {
      Reader reader(arguments);
      seconds["first"].push_back(reader.ReadAll(size));
      seconds["again"].push_back(reader.ReadAll(size));
    }
    Reader reader(arguments);
    Dice dice(blocks);
    for (uint64_t& block : picked) block = dice.Next();
    for (const char* which : {"random first", "random again"}) {
      const double all = SecondsOf([&] {
        for (const uint64_t block : picked) {
          reader.Read(block * kSumBlockSize + kPage, kPage);
        }
      });
      seconds[which].push_back(all / static_cast<double>(picked.size()));
    }
  }
  return seconds;
}

}  // namespace varve::bench
