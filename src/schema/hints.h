// Hints for a person who wrote a word that the schema does not have: which one was meant, whether it is a word of
// qemu-storage-daemon that is not built here (schema/elsewhere.h), and what could stand there.
//
// Sentences in one line, empty when there is nothing to say. They repeat what was written only where it is short.
// Plain functions; any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace blockexport::schema {

// Names that one hint lists.
inline constexpr std::size_t kHintNamesMax = 64;

// For an option `word` that is none of `known`. `place`: where it stands, as in ElsewhereWord. `prefix` is the path of
// the object that it belongs to, with a dot at its end, or empty.
std::string hint_for_option(std::string_view word, std::span<const std::string_view> known, std::string_view place,
                            std::string_view prefix);

// For an option `wanted` that is missing where others are, `strangers`, of which one may have been meant for it.
std::string hint_for_absent_option(std::string_view wanted, std::span<const std::string_view> strangers,
                                   std::string_view prefix);

// For a value that is none of those that an option accepts. `shown`: what a person calls the option; `member`: its name
// in the schema.
std::string hint_for_value(std::string_view shown, std::string_view member, std::string_view value,
                           std::span<const std::string_view> accepted);

}  // namespace blockexport::schema
