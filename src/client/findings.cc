#include "client/findings.h"

#include <fmt/format.h>

#include <algorithm>

namespace blockexport::client {

void Findings::add_all(std::string_view prefix, const Findings& others) {
  for (const Finding& finding : others.list_) {
    list_.push_back({.grade = finding.grade, .subject = std::string(prefix) + finding.subject, .text = finding.text});
  }
}

bool Findings::has_fault() const {
  return std::ranges::any_of(list_, [](const Finding& finding) { return finding.grade == Finding::Grade::kFault; });
}

bool Findings::has_fault(std::string_view subject) const {
  return std::ranges::any_of(list_, [subject](const Finding& finding) {
    return finding.grade == Finding::Grade::kFault && finding.subject == subject;
  });
}

std::string Findings::text() const {
  std::string text;
  for (const Finding& finding : list_) {
    std::string_view grade = finding.grade == Finding::Grade::kFine      ? "ok"
                             : finding.grade == Finding::Grade::kWarning ? "warning"
                                                                         : "fault";
    text += fmt::format("{:<8} {:<16} {}\n", grade, finding.subject, finding.text);
  }
  return text;
}

}  // namespace blockexport::client
