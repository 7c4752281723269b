#include "tools/varve/suggest.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/match.h"

namespace varve::tools {
namespace {

// The Damerau-Levenshtein distance, in which swapped letters are not changed
// further.
size_t Distance(absl::string_view a, absl::string_view b) {
  // Rows of the table: of the prefix of `a` before last, the last, and this.
  std::vector<size_t> before;
  std::vector<size_t> last(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    std::vector<size_t> row(b.size() + 1, i);
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1,
                         last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      const bool swapped =
          i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = std::move(last);
    last = std::move(row);
  }
  return last[b.size()];
}

}  // namespace

std::optional<std::string> Suggest(absl::string_view word,
                                   const std::vector<std::string>& known) {
  // A third of the letters, but at least one.
  size_t least = std::max<size_t>(1, word.size() / 3) + 1;
  std::optional<std::string> best;
  for (const std::string& candidate : known) {
    // The beginning of a long word counts as the whole word.
    const bool begins = word.size() > 2 && absl::StartsWith(candidate, word);
    const size_t distance = begins ? 1 : Distance(word, candidate);
    if (distance >= std::min(least, candidate.size())) continue;
    least = distance;
    best = candidate;
  }
  return best;
}

}  // namespace varve::tools
