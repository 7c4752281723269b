// Runs a fuzz target without a fuzzer: first on every file of the folders that
// are named as arguments, then on inputs derived from those files by a fixed
// pseudo-random sequence. A failure therefore repeats on every run.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Input = std::vector<uint8_t>;

constexpr int kDerivedInputs = 1000;
constexpr size_t kMaxRandomSize = 512;
constexpr int kMaxChanges = 8;

void Run(const Input& input) {
  // A copy of exact size lets the address sanitizer see reads past the end.
  const Input exact(input);
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

// The files in `folder`, in the order of their names.
std::vector<std::filesystem::path> FilesIn(const std::string& folder) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  std::filesystem::recursive_directory_iterator entries(folder, error);
  if (error) return files;  // A target may have no corpus yet.
  for (const auto& entry : entries) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

Input ReadFile(const std::filesystem::path& path) {
  std::ifstream stream(path, std::ios::binary);
  return Input(std::istreambuf_iterator<char>(stream), {});
}

Input RandomInput(std::mt19937& random) {
  Input input(random() % kMaxRandomSize);
  for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
  return input;
}

// Changes, drops or inserts a few bytes.
Input Mutated(Input input, std::mt19937& random) {
  for (auto changes = random() % kMaxChanges + 1; changes > 0; --changes) {
    const auto byte = static_cast<uint8_t>(random());
    const auto place =
        input.begin() + static_cast<ptrdiff_t>(random() % (input.size() + 1));
    const auto kind = random() % 3;
    if (kind == 0 || place == input.end()) {
      input.insert(place, byte);
    } else if (kind == 1) {
      *place = byte;
    } else {
      input.erase(place);
    }
  }
  return input;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Input> corpus;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with("-")) continue;  // An option of libFuzzer.
    for (const auto& path : FilesIn(argument)) {
      std::printf("replaying %s\n", path.c_str());
      std::fflush(stdout);  // The last line names the input that crashed.
      corpus.push_back(ReadFile(path));
      Run(corpus.back());
    }
  }
  Run({});
  std::mt19937 random;  // The standard fixes the default seed.
  for (int i = 0; i < kDerivedInputs; ++i) {
    std::printf("derived input %d\n", i);
    const bool from_corpus = !corpus.empty() && random() % 4 != 0;
    Run(from_corpus ? Mutated(corpus[random() % corpus.size()], random)
                    : RandomInput(random));
  }
  std::printf("%zu from the corpus and %d derived inputs passed\n",
              corpus.size(), kDerivedInputs);
  return 0;
}
