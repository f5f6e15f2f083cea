// Spelling suggestions: finds the known word that is most like a misspelt one.
//
// Plain functions without state; any thread. The cost is bounded: a text of more than kSimilarTextBytesMax bytes is
// similar to nothing, and at most kSimilarCandidatesMax candidates are compared. Only suggest() and suggest_similar()
// allocate.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace blockexport {

// Longest text that is compared, in bytes.
inline constexpr std::size_t kSimilarTextBytesMax = 64;
// Most candidates that one word is compared with.
inline constexpr std::size_t kSimilarCandidatesMax = 256;

// The number of characters that have to be inserted, removed, replaced, or exchanged with their neighbour to turn `a`
// into `b`. Upper and lower case are equal, and so are '-' and '_'. Nothing when one of them is too long.
std::optional<std::size_t> edit_distance(std::string_view a, std::string_view b);

// True if `word` may be a misspelling of `meant`: up to a third of its characters are wrong, or one of the two is a
// prefix of the other and has at least three characters. True for equal texts.
bool is_similar(std::string_view word, std::string_view meant);

// The one of `candidates` that is most like `word`; the first of several, nothing when none is similar.
std::optional<std::string_view> most_similar(std::string_view word, std::span<const std::string_view> candidates);

// "Did you mean 'MEANT' instead of 'WORD'?", with `prefix` before both.
std::string suggest(std::string_view meant, std::string_view word, std::string_view prefix = {});

// The same for the most similar of `known`; empty when none is similar.
std::string suggest_similar(std::string_view word, std::span<const std::string_view> known,
                            std::string_view prefix = {});

}  // namespace blockexport
