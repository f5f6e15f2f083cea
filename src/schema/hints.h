// Hints about a word that the schema does not have: a similar word, a note that qemu-storage-daemon has the word and we
// do not (schema/elsewhere.h), and the accepted words.
//
// Each hint is one line, or empty. It repeats the user's text only if that is short. Plain functions; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace blockexport::schema {

// Most names that one hint lists.
inline constexpr std::size_t kHintNamesMax = 64;

// Hint about an option `word` that is none of `known`. `context`: as in ElsewhereWord. `prefix`: the path of its object
// with a final dot, or empty.
std::string hint_for_option(std::string_view word, std::span<const std::string_view> known, std::string_view context,
                            std::string_view prefix);

// Hint about a missing option `wanted`, of which one of the `unknown` options may be a misspelling.
std::string hint_for_absent_option(std::string_view wanted, std::span<const std::string_view> unknown,
                                   std::string_view prefix);

// Hint about a value that an option does not accept. `shown`: the option's name for the user; `member`: its name in the
// schema.
std::string hint_for_value(std::string_view shown, std::string_view member, std::string_view value,
                           std::span<const std::string_view> accepted);

}  // namespace blockexport::schema
