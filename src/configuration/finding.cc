#include "configuration/finding.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace blockexport::configuration {

std::string text_of(const Place& place) {
  if (place.line == 0) return place.file;
  return fmt::format("{}:{}:{}", place.file, place.line, place.column);
}

std::string text_of(const Finding& finding) {
  std::string text = fmt::format("{}: {}", text_of(finding.place), finding.message);
  if (!finding.hint.empty()) text += fmt::format(". {}", finding.hint);
  return text;
}

void Findings::add(Place place, std::string message, std::string hint) {
  if (list_.size() == kFindingsMax) {
    ++not_kept_;
    return;
  }
  list_.push_back({.place = std::move(place), .message = std::move(message), .hint = std::move(hint)});
}

void Findings::sort(const std::vector<std::string>& files) {
  auto number_of = [&files](const std::string& file) { return std::ranges::find(files, file) - files.begin(); };
  std::ranges::sort(list_, [&](const Finding& a, const Finding& b) {
    const auto file_a = number_of(a.place.file);
    const auto file_b = number_of(b.place.file);
    if (file_a != file_b) return file_a < file_b;
    return std::tie(a.place.line, a.place.column, a.message) < std::tie(b.place.line, b.place.column, b.message);
  });
}

std::string Findings::text() const {
  std::string text;
  for (const Finding& finding : list_) {
    if (!text.empty()) text += '\n';
    text += text_of(finding);
  }
  if (not_kept_ > 0) text += fmt::format("\n{} more errors", not_kept_);
  return text;
}

}  // namespace blockexport::configuration
