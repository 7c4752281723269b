#include "tools/bench/engine_workloads.h"

#include <stdio.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <numeric>
#include <random>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "engine/entry/entry.h"

namespace varve::bench {
namespace {

constexpr size_t kChecksumBuffer = size_t{256} << 10;
// An allowance for data that a peer stores with a key and its value.
constexpr uint64_t kOverhead = 128;

// Seconds that `work` takes.
template <typename Work>
double TimeOf(const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

// The eight bytes that are the value of a key, or its beginning.
uint64_t Content(uint64_t number) { return (number + 1) * 0x9e3779b97f4a7c15; }

void Expect(bool holds, const KeyValueStore& store, absl::string_view what) {
  if (!holds) Fail(absl::StrCat(store.name(), ": ", what));
}

// Keys with values of eight bytes, and what is known of them.
class Entries {
 public:
  explicit Entries(uint64_t count) : shuffled_keys_(count) {
    contents_.reserve(count);
    for (uint64_t i = 0; i < count; ++i) {
      contents_.push_back(Content(i));
      items_.push_back(
          {Key(i),
           {reinterpret_cast<const char*>(&contents_[i]), sizeof(uint64_t)}});
      native_.push_back({Key::OfNative(i), items_.back().value});
      digests_ += Digest(&contents_[i], sizeof(uint64_t));
    }
    shuffled_ = items_;
    std::mt19937_64 random(1);
    std::shuffle(shuffled_.begin(), shuffled_.end(), random);
    // Another order than the one in which they are written.
    for (uint64_t i = 0; i < count; ++i) shuffled_keys_[i] = items_[i].key;
    std::shuffle(shuffled_keys_.begin(), shuffled_keys_.end(), random);
  }

  absl::Span<const KeyValue> in_order() const { return items_; }
  // Counters in their memory representation, as programs use for keys that need
  // no order.
  absl::Span<const KeyValue> native() const { return native_; }
  absl::Span<const KeyValue> shuffled() const { return shuffled_; }
  absl::Span<const Key> shuffled_keys() const { return shuffled_keys_; }

  uint64_t digests() const { return digests_; }
  // The expected content of the store after all of the `items` were written.
  Totals TotalsIn(const KeyValueStore& store,
                  absl::Span<const KeyValue> items) const {
    Totals totals = {.count = items.size(), .keys = 0, .values = digests_};
    for (const KeyValue& item : items) totals.keys += store.KeyDigest(item.key);
    return totals;
  }

 private:
  std::vector<uint64_t> contents_;
  std::vector<KeyValue> items_;
  std::vector<KeyValue> native_;
  std::vector<KeyValue> shuffled_;
  std::vector<Key> shuffled_keys_;
  uint64_t digests_ = 0;
};

// The part of a round that concerns one peer.
class Run {
 public:
  Run(const Settings& settings, const Entries& entries, KeyValueStore& store,
      Figures& figures)
      : settings_(settings),
        entries_(entries),
        store_(store),
        figures_(figures),
        path_(absl::StrCat(settings.directory, "/", store.name())),
        count_(static_cast<double>(settings.keys)) {}

  void All() {
    if (WantsAny({"batch_write", "open", "memory", "read", "read_batch",
                  "iterate", "iterate_parallel"})) {
      WriteInBatches("batch_write", entries_.in_order());
      Open();
      ReadAll();
      store_.Close();
      if (settings_.Wants("memory")) ProbeMemory();
      Remove();
    }
    if (settings_.Wants("batch_write_native")) {
      WriteInBatches("batch_write_native", entries_.native());
      Remove();
    }
    if (settings_.Wants("batch_write_shuffled")) {
      WriteInBatches("batch_write_shuffled", entries_.shuffled());
      Remove();
    }
    WriteSingly("write_100", 100, settings_.small_writes);
    WriteSingly("write_4k", 4096, settings_.page_writes);
    WriteSingly("write_1m", size_t{1} << 20, settings_.large_writes);
  }

 private:
  bool WantsAny(std::initializer_list<const char*> workloads) const {
    return std::any_of(workloads.begin(), workloads.end(),
                       [&](const char* id) { return settings_.Wants(id); });
  }

  void Remove() { std::filesystem::remove_all(path_); }

  void Note(const char* workload, double figure) {
    if (settings_.Wants(workload)) {
      figures_.Add(workload, store_.name(), figure);
    }
  }

  uint64_t Capacity() const {
    return settings_.keys * (2 * sizeof(uint64_t) + kOverhead);
  }

  void WriteInBatches(const char* workload, absl::Span<const KeyValue> items) {
    store_.Open(path_, Capacity());
    const double seconds = TimeOf([&] {
      for (size_t i = 0; i < items.size(); i += settings_.batch) {
        store_.PutBatch(items.subspan(i, settings_.batch));
      }
    });
    Note(workload, count_ / seconds);
    Expect(store_.Iterate() == entries_.TotalsIn(store_, items), store_,
           "other entries than were written");
    store_.Close();
  }

  void Open() {
    const auto key = entries_.shuffled_keys().first(1);
    uint64_t digest = 0;
    const double seconds = TimeOf([&] {
      store_.Open(path_, Capacity());
      digest = store_.Read(key);
    });
    const uint64_t content = Content(key.front().number());
    Expect(digest == Digest(&content, sizeof(content)), store_,
           "another value than was written");
    Note("open", seconds * 1e3);
  }

  // Times one way to read all entries, after a first time for the caches.
  template <typename Read>
  void TimeReading(const char* workload, const Read& read) {
    if (!settings_.Wants(workload)) return;
    bool is_right = read();
    const double seconds = TimeOf([&] { is_right &= read(); });
    Expect(is_right, store_, "other entries than were written");
    Note(workload, count_ / seconds);
  }

  void ReadAll() {
    const auto keys = entries_.shuffled_keys();
    const Totals totals = entries_.TotalsIn(store_, entries_.in_order());
    TimeReading("iterate", [&] { return store_.Iterate() == totals; });
    TimeReading("read",
                [&] { return store_.Read(keys) == entries_.digests(); });
    TimeReading("read_batch", [&] {
      uint64_t sum = 0;
      for (size_t i = 0; i < keys.size(); i += settings_.batch) {
        sum += store_.ReadBatch(keys.subspan(i, settings_.batch));
      }
      return sum == entries_.digests();
    });
    if (!store_.CanIterateInParallel()) return;
    TimeReading("iterate_parallel",
                [&] { return store_.IterateInParallel() == totals; });
  }

  // Another process reads, so that memory which this one has freed does not
  // count.
  void ProbeMemory() {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string command =
        absl::StrCat("'", self, "' --keys ", settings_.keys, " --probe ",
                     std::string(store_.name()), " --path '", path_, "'");
    FILE* const output = popen(command.c_str(), "r");
    long long bytes = 0;
    const bool is_read =
        output != nullptr && fscanf(output, "%lld", &bytes) == 1;
    if (output == nullptr || pclose(output) != 0 || !is_read) {
      Fail(absl::StrCat("failed: ", command));
    }
    Note("memory", static_cast<double>(bytes) / count_);
  }

  void WriteSingly(const char* workload, size_t size, uint64_t count) {
    if (!settings_.Wants(workload)) return;
    std::string value(size, 'v');
    std::vector<Key> keys;
    uint64_t digests = 0;
    for (uint64_t i = 0; i < count; ++i) {
      keys.emplace_back(i);
      digests += Content(i) + size;
    }
    store_.Open(path_, count * (size + kOverhead));
    const double seconds = TimeOf([&] {
      for (uint64_t i = 0; i < count; ++i) {
        const uint64_t content = Content(i);
        std::memcpy(value.data(), &content, sizeof(content));
        store_.Put({keys[i], value});
      }
    });
    Note(workload, static_cast<double>(count) / seconds);
    Expect(store_.Read(keys) == digests, store_,
           "other values than were written");
    store_.Close();
    Remove();
  }

  const Settings& settings_;
  const Entries& entries_;
  KeyValueStore& store_;
  Figures& figures_;
  const std::string path_;
  const double count_;
};

// The engine's checksum, and a copy, of a buffer that stays in the cache.
void TimeChecksum(uint64_t bytes, Figures& figures) {
  if (Crc32(0, AsBytes("123456789")) != 0xcbf43926) {
    Fail("the checksum is not the CRC-32 of zlib");
  }
  std::string buffer(kChecksumBuffer, '\0');
  std::mt19937_64 random(1);
  for (char& byte : buffer) byte = static_cast<char>(random());
  const auto all = AsBytes(buffer);
  uint32_t in_pieces = 0;
  for (size_t i = 0; i < all.size(); i += 1000) {
    in_pieces = Crc32(in_pieces, all.subspan(i, 1000));
  }
  if (in_pieces != Crc32(0, all)) Fail("the checksum depends on the pieces");

  const uint64_t times = std::max<uint64_t>(1, bytes / kChecksumBuffer);
  const auto total = static_cast<double>(times * kChecksumBuffer);
  uint32_t crc = 0;
  figures.Add("checksum", "varve", total / TimeOf([&] {
                                     for (uint64_t i = 0; i < times; ++i)
                                       crc = Crc32(crc, all);
                                   }));
  // Otherwise the speed would depend on where the two happen to lie.
  alignas(4096) static char source[kChecksumBuffer];
  alignas(4096) static char copy[kChecksumBuffer];
  std::memcpy(source, buffer.data(), buffer.size());
  figures.Add("checksum", "bare",
              total / TimeOf([&] {
                for (uint64_t i = 0; i < times; ++i) {
                  std::memcpy(copy, source, sizeof(copy));
                  // The compiler must assume that each copy is used.
                  asm volatile("" : : "r"(copy), "r"(crc) : "memory");
                }
              }));
}

// Memory of the process that is not mapped from a file.
int64_t AnonymousMemory() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    long long kib = 0;
    if (sscanf(line.c_str(), "RssAnon: %lld kB", &kib) == 1) return kib * 1024;
  }
  Fail("/proc/self/status does not tell the memory in use");
}

double MedianOf(std::vector<double> figures) {
  std::sort(figures.begin(), figures.end());
  const size_t half = figures.size() / 2;
  return figures.size() % 2 == 1 ? figures[half]
                                 : (figures[half - 1] + figures[half]) / 2;
}

bool LessIsBetter(const std::string& id) {
  return std::any_of(kWorkloads.begin(), kWorkloads.end(),
                     [&](const Workload& workload) {
                       return workload.id == id && workload.less_is_better;
                     });
}

}  // namespace

void Fail(absl::string_view what) {
  std::cerr << "engine_bench: " << what << "\n";
  std::exit(2);
}

bool Settings::Wants(const std::string& workload) const {
  return only.empty() ||
         std::find(only.begin(), only.end(), workload) != only.end();
}

void Figures::Add(const std::string& workload, absl::string_view peer,
                  double figure) {
  figures_[{workload, std::string(peer)}].push_back(figure);
}

const std::vector<double>& Figures::All(const std::string& workload,
                                        const std::string& peer) const {
  static const std::vector<double>* const none = new std::vector<double>;
  const auto found = figures_.find({workload, peer});
  return found == figures_.end() ? *none : found->second;
}

std::optional<double> Figures::Median(const std::string& workload,
                                      const std::string& peer) const {
  const std::vector<double>& all = All(workload, peer);
  if (all.empty()) return std::nullopt;
  return MedianOf(all);
}

std::optional<double> Figures::Ratio(const std::string& workload,
                                     const std::string& peer,
                                     const std::string& other_workload,
                                     const std::string& other_peer) const {
  const std::vector<double>& ours = All(workload, peer);
  const std::vector<double>& theirs = All(other_workload, other_peer);
  if (ours.empty() || ours.size() != theirs.size()) return std::nullopt;
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); ++i) {
    ratios.push_back(LessIsBetter(workload) ? theirs[i] / ours[i]
                                            : ours[i] / theirs[i]);
  }
  return MedianOf(ratios);
}

void RunRound(const Settings& settings,
              absl::Span<const std::unique_ptr<KeyValueStore>> peers,
              Figures& figures) {
  const Entries entries(settings.keys);
  for (const std::unique_ptr<KeyValueStore>& peer : peers) {
    Run(settings, entries, *peer, figures).All();
  }
  if (settings.Wants("checksum")) {
    TimeChecksum(settings.checksum_bytes, figures);
  }
}

int64_t MemoryToRead(KeyValueStore& peer, const std::string& path,
                     uint64_t keys) {
  const Entries entries(keys);
  const int64_t before = AnonymousMemory();
  peer.Open(path, keys * (2 * sizeof(uint64_t) + kOverhead));
  if (peer.Read(entries.shuffled_keys()) != entries.digests()) {
    Fail("other entries than were written");
  }
  return AnonymousMemory() - before;
}

}  // namespace varve::bench
