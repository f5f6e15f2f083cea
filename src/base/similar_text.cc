#include "base/similar_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace blockexport {
namespace {

// One typing error is allowed per this number of characters.
constexpr std::size_t kBytesForOneSlip = 3;
// A shorter prefix is not evidence of similarity.
constexpr std::size_t kBeginningBytesMin = 3;

char folded(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<char>(c - 'A' + 'a');
  return c == '_' ? '-' : c;
}

bool is_same(char a, char b) {
  return folded(a) == folded(b);
}

bool is_beginning(std::string_view beginning, std::string_view text) {
  return beginning.size() >= kBeginningBytesMin && beginning.size() < text.size() &&
         std::equal(beginning.begin(), beginning.end(), text.begin(), is_same);
}

// Distance of `word` from `meant`, in a scale that ranks a common prefix after every typing error. Nothing: they are
// not similar.
std::optional<std::size_t> slips(std::string_view word, std::string_view meant) {
  std::optional<std::size_t> distance = edit_distance(word, meant);
  if (!distance) return std::nullopt;
  if (*distance <= std::max(word.size(), meant.size()) / kBytesForOneSlip) return distance;
  if (is_beginning(word, meant) || is_beginning(meant, word)) return kSimilarTextBytesMax + *distance;
  return std::nullopt;
}

}  // namespace

// Dynamic programming over three rows of the table of distances between the prefixes of both.
std::optional<std::size_t> edit_distance(std::string_view a, std::string_view b) {
  if (a.size() > kSimilarTextBytesMax || b.size() > kSimilarTextBytesMax) return std::nullopt;
  using Row = std::array<std::size_t, kSimilarTextBytesMax + 1>;
  Row before_last{};
  Row last{};
  Row current{};
  for (std::size_t j = 0; j <= b.size(); ++j) current[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    before_last = last;
    last = current;
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = last[j - 1] + (is_same(a[i - 1], b[j - 1]) ? 0 : 1);
      current[j] = std::min({last[j] + 1, current[j - 1] + 1, replaced});
      const bool is_exchange = i > 1 && j > 1 && is_same(a[i - 1], b[j - 2]) && is_same(a[i - 2], b[j - 1]);
      if (is_exchange) current[j] = std::min(current[j], before_last[j - 2] + 1);
    }
  }
  return current[b.size()];
}

bool is_similar(std::string_view word, std::string_view meant) {
  return slips(word, meant).has_value();
}

std::optional<std::string_view> most_similar(std::string_view word, std::span<const std::string_view> candidates) {
  std::optional<std::string_view> best;
  std::size_t fewest = 0;
  for (std::string_view candidate : candidates.first(std::min(candidates.size(), kSimilarCandidatesMax))) {
    std::optional<std::size_t> count = slips(word, candidate);
    if (!count || (best && *count >= fewest)) continue;
    best = candidate;
    fewest = *count;
  }
  return best;
}

std::string suggest(std::string_view meant, std::string_view word, std::string_view prefix) {
  return fmt::format("Did you mean '{0}{1}' instead of '{0}{2}'?", prefix, meant, word);
}

std::string suggest_similar(std::string_view word, std::span<const std::string_view> known, std::string_view prefix) {
  auto meant = most_similar(word, known);
  return meant ? suggest(*meant, word, prefix) : std::string();
}

}  // namespace blockexport
