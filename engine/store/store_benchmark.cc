// How long the store's verbs take, beside the system calls they are made of.
//
//   bazel run -c opt //engine/store:store_benchmark

#include <benchmark/benchmark.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "engine/store/store.h"

namespace varve {
namespace {

absl::Span<const std::byte> Bytes(const std::string& text) {
  return absl::MakeConstSpan(reinterpret_cast<const std::byte*>(text.data()),
                             text.size());
}

// A new store in a directory of its own.
class Scratch {
 public:
  Scratch()
      : directory_(std::filesystem::temp_directory_path() / "varve.XXXXXX") {
    if (mkdtemp(directory_.data()) == nullptr) std::abort();
  }
  ~Scratch() { std::filesystem::remove_all(directory_); }

  std::string path() const { return directory_ + "/store"; }
  std::unique_ptr<Store> Open() const {
    return *Store::Open(path(), {.mode = OpenMode::kCreate});
  }

 private:
  std::string directory_;
};

// A store with `count` keys, key hashes being 1 … count scrambled.
uint64_t KeyHash(uint64_t i) { return i * 0x9e3779b97f4a7c15; }

std::unique_ptr<Store> Filled(const Scratch& scratch, uint64_t count,
                              size_t size) {
  std::unique_ptr<Store> store = scratch.Open();
  const std::string payload(size, 'x');
  constexpr uint64_t kBatch = 1000;
  for (uint64_t i = 1; i <= count; i += kBatch) {
    std::vector<BatchItem> items;
    for (uint64_t j = i; j < i + kBatch && j <= count; ++j) {
      items.push_back({EntryKey::OfHash(KeyHash(j)), Bytes(payload)});
    }
    if (!store->WriteBatch(items).ok()) std::abort();
  }
  return store;
}

// What a write costs at least: the same bytes, appended by the system call.
void BarePwrite(benchmark::State& state) {
  const Scratch scratch;
  const size_t size = Align64(static_cast<size_t>(state.range(0)) + 20);
  const std::string bytes(size, 'x');
  const int fd = open(scratch.path().c_str(), O_RDWR | O_CREAT, 0600);
  off_t at = 0;
  for (auto _ : state) {
    if (pwrite(fd, bytes.data(), size, at) < 0) std::abort();
    at += static_cast<off_t>(size);
  }
  close(fd);
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BarePwrite)->Arg(8)->Arg(1024)->Arg(65536)->Iterations(200000);

void SingleWrites(benchmark::State& state) {
  const Scratch scratch;
  const std::unique_ptr<Store> store = scratch.Open();
  const std::string payload(static_cast<size_t>(state.range(0)), 'x');
  uint64_t i = 0;
  for (auto _ : state) {
    if (!store->Write(EntryKey::OfHash(KeyHash(++i)), Bytes(payload)).ok())
      std::abort();
  }
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(SingleWrites)->Arg(8)->Arg(1024)->Arg(65536)->Iterations(200000);

void BatchWrites(benchmark::State& state) {
  const Scratch scratch;
  const std::unique_ptr<Store> store = scratch.Open();
  const std::string payload(8, 'x');
  std::vector<BatchItem> items(1024, {EntryKey::OfHash(0), Bytes(payload)});
  uint64_t i = 0;
  for (auto _ : state) {
    for (BatchItem& item : items) item.key = EntryKey::OfHash(KeyHash(++i));
    if (!store->WriteBatch(items).ok()) std::abort();
  }
  state.SetItemsProcessed(state.iterations() * 1024);
}
BENCHMARK(BatchWrites)->Iterations(500);

// Looks up keys at random, of those that are there or of others, as `look_up`
// does it.
template <typename LookUp>
void LookUpAtRandom(benchmark::State& state, bool absent,
                    const LookUp& look_up) {
  const Scratch scratch;
  const auto count = static_cast<uint64_t>(state.range(0));
  const std::unique_ptr<Store> store = Filled(scratch, count, 8);
  const uint64_t first = absent ? count + 1 : 1;
  std::mt19937_64 random(1);
  for (auto _ : state) {
    look_up(*store, EntryKey::OfHash(KeyHash(first + random() % count)));
  }
  state.SetItemsProcessed(state.iterations());
}

void RandomReads(benchmark::State& state) {
  LookUpAtRandom(state, /*absent=*/false, [](Store& store, EntryKey key) {
    const auto view = store.Read(key);
    benchmark::DoNotOptimize(view->size());
  });
}
BENCHMARK(RandomReads)->Arg(1000)->Arg(1000000);

void RandomFinds(benchmark::State& state) {
  LookUpAtRandom(state, /*absent=*/false, [](Store& store, EntryKey key) {
    benchmark::DoNotOptimize(store.Find(key));
  });
}
BENCHMARK(RandomFinds)->Arg(1000)->Arg(1000000);

void AbsentReads(benchmark::State& state) {
  LookUpAtRandom(state, /*absent=*/true, [](Store& store, EntryKey key) {
    if (store.Read(key).ok()) std::abort();
  });
}
BENCHMARK(AbsentReads)->Arg(1000)->Arg(1000000);

void AbsentFinds(benchmark::State& state) {
  LookUpAtRandom(state, /*absent=*/true, [](Store& store, EntryKey key) {
    if (store.Exists(key)) std::abort();
  });
}
BENCHMARK(AbsentFinds)->Arg(1000)->Arg(1000000);

void BatchReads(benchmark::State& state) {
  const Scratch scratch;
  constexpr uint64_t kCount = 1000000;
  const std::unique_ptr<Store> store = Filled(scratch, kCount, 8);
  std::mt19937_64 random(1);
  std::vector<EntryKey> keys(1024, EntryKey::OfHash(0));
  for (auto _ : state) {
    for (EntryKey& key : keys) {
      key = EntryKey::OfHash(KeyHash(random() % kCount + 1));
    }
    benchmark::DoNotOptimize(store->ReadBatch(keys).size());
  }
  state.SetItemsProcessed(state.iterations() * 1024);
}
BENCHMARK(BatchReads);

void Iteration(benchmark::State& state) {
  const Scratch scratch;
  constexpr uint64_t kCount = 1000000;
  const std::unique_ptr<Store> store = Filled(scratch, kCount, 8);
  for (auto _ : state) {
    uint64_t bytes = 0;
    store->ForEach([&](const EntryView& view) {
      bytes += view.size();
      return true;
    });
    benchmark::DoNotOptimize(bytes);
  }
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(Iteration)->Unit(benchmark::kMillisecond);

void Opening(benchmark::State& state) {
  const Scratch scratch;
  constexpr uint64_t kCount = 1000000;
  Filled(scratch, kCount, 8).reset();
  for (auto _ : state) {
    benchmark::DoNotOptimize(scratch.Open()->size());
  }
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(Opening)->Unit(benchmark::kMillisecond);

void Compaction(benchmark::State& state) {
  const Scratch scratch;
  constexpr uint64_t kCount = 1000000;
  const std::unique_ptr<Store> store = Filled(scratch, kCount, 8);
  for (auto _ : state) {
    if (!store->Compact().ok()) std::abort();
  }
  state.SetItemsProcessed(state.iterations() * kCount);
}
BENCHMARK(Compaction)->Unit(benchmark::kMillisecond)->Iterations(3);

}  // namespace
}  // namespace varve
