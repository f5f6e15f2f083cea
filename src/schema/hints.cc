#include "schema/hints.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/similar_text.h"
#include "schema/elsewhere.h"

namespace blockexport::schema {
namespace {

// The names without duplicates, in their order, separated by commas.
std::string listed(std::span<const std::string_view> names) {
  std::vector<std::string_view> listed_names;
  std::string text;
  for (std::string_view name : names) {
    if (std::ranges::find(listed_names, name) != listed_names.end()) continue;
    if (listed_names.size() == kHintNamesMax) return text + " and more";
    if (!text.empty()) text += ", ";
    text += name;
    listed_names.push_back(name);
  }
  return text;
}

}  // namespace

std::string hint_for_option(std::string_view word, std::span<const std::string_view> known, std::string_view context,
                            std::string_view prefix) {
  for (std::string_view part : {context, context.substr(0, context.find(' '))}) {
    if (std::string note = elsewhere_note(ElsewhereSort::kOption, part, word); !note.empty()) return note;
  }
  if (std::string text = suggest_similar(word, known, prefix); !text.empty()) return text;
  return known.empty() ? std::string() : fmt::format("Accepted options: {}.", listed(known));
}

std::string hint_for_absent_option(std::string_view wanted, std::span<const std::string_view> unknown,
                                   std::string_view prefix) {
  auto written = most_similar(wanted, unknown);
  return written ? suggest(wanted, *written, prefix) : std::string();
}

std::string hint_for_value(std::string_view shown, std::string_view member, std::string_view value,
                           std::span<const std::string_view> accepted) {
  if (accepted.empty()) return {};
  const std::string context = fmt::format("{} {}", member, accepted.front());
  std::string text = elsewhere_note(ElsewhereSort::kValue, context, value);
  if (text.empty()) text = suggest_similar(value, accepted);
  if (!text.empty()) text += ' ';
  return text + fmt::format("'{}' accepts: {}.", shown, listed(accepted));
}

}  // namespace blockexport::schema
