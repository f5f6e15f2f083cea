// Which of the known words somebody meant who wrote another one.
//
// Plain functions without state; any thread. The cost is bounded: texts of more than kSimilarTextBytesMax bytes are
// like nothing, and no more than kSimilarCandidatesMax candidates are looked at. Nothing is allocated.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace blockexport {

// Bytes of a text that is compared.
inline constexpr std::size_t kSimilarTextBytesMax = 64;
// Texts that one word is compared with.
inline constexpr std::size_t kSimilarCandidatesMax = 256;

// How many characters have to be inserted, removed, replaced, or exchanged with their neighbour to make `b` out of `a`.
// Letters of either case are one, and so are '-' and '_'. Nothing when one of them is too long.
std::optional<std::size_t> edit_distance(std::string_view a, std::string_view b);

// Whether `word` may be a slip for `meant`: up to a third of its characters are wrong, or one of them is the beginning
// of the other and has three characters at least. True for equal texts.
bool is_similar(std::string_view word, std::string_view meant);

// The one of `candidates` that is most like `word`; the first of several, nothing when none is similar.
std::optional<std::string_view> most_similar(std::string_view word, std::span<const std::string_view> candidates);

// "Did you mean 'MEANT' instead of 'WORD'?", with `prefix` before both.
std::string suggest(std::string_view meant, std::string_view word, std::string_view prefix = {});

// The same for the most similar of `known`; empty when none is similar.
std::string suggest_similar(std::string_view word, std::span<const std::string_view> known,
                            std::string_view prefix = {});

}  // namespace blockexport
