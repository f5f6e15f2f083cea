#include "schema/hints.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/similar_text.h"
#include "schema/elsewhere.h"

namespace blockexport::schema {
namespace {

// Each once, in their order.
std::string listed(std::span<const std::string_view> names) {
  std::vector<std::string_view> told;
  std::string text;
  for (std::string_view name : names) {
    if (std::ranges::find(told, name) != told.end()) continue;
    if (told.size() == kHintNamesMax) return text + " and more";
    if (!text.empty()) text += ", ";
    text += name;
    told.push_back(name);
  }
  return text;
}

}  // namespace

std::string hint_for_option(std::string_view word, std::span<const std::string_view> known, std::string_view place,
                            std::string_view prefix) {
  for (std::string_view where : {place, place.substr(0, place.find(' '))}) {
    if (std::string note = elsewhere_note(ElsewhereSort::kOption, where, word); !note.empty()) return note;
  }
  if (std::string text = suggest_similar(word, known, prefix); !text.empty()) return text;
  return known.empty() ? std::string() : fmt::format("What can stand here: {}.", listed(known));
}

std::string hint_for_absent_option(std::string_view wanted, std::span<const std::string_view> strangers,
                                   std::string_view prefix) {
  auto written = most_similar(wanted, strangers);
  return written ? suggest(wanted, *written, prefix) : std::string();
}

std::string hint_for_value(std::string_view shown, std::string_view member, std::string_view value,
                           std::span<const std::string_view> accepted) {
  if (accepted.empty()) return {};
  const std::string place = fmt::format("{} {}", member, accepted.front());
  std::string text = elsewhere_note(ElsewhereSort::kValue, place, value);
  if (text.empty()) text = suggest_similar(value, accepted);
  if (!text.empty()) text += ' ';
  return text + fmt::format("'{}' accepts: {}.", shown, listed(accepted));
}

}  // namespace blockexport::schema
