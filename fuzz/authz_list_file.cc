// Fuzzes the parser of authorization list files: any bytes become rules or an error that names the file; rules decide
// about any identity.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "control/objects/authz_rules.h"

using blockexport::authz::RuleList;
using blockexport::authz::Verdict;

// Input: an identity as the first line, then the text of the file.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view input(reinterpret_cast<const char*>(data), size);
  std::size_t line = input.find('\n');
  std::string_view identity = input.substr(0, line);
  std::string_view text = line == std::string_view::npos ? std::string_view() : input.substr(line + 1);
  auto list = blockexport::control::parse_rule_list("f", text);
  if (!list) {
    if (!list.error().message().starts_with("File 'f'")) abort();
    return 0;
  }
  Verdict verdict = list->decide(identity);
  // The first matching rule decides, and an exact rule equals the identity.
  bool expected = list->allows_others;
  for (const auto& rule : list->rules) {
    if (!rule.matches(identity)) continue;
    if (rule.format == blockexport::authz::Rule::Format::kExact && rule.match != identity) abort();
    expected = rule.allows;
    break;
  }
  if (verdict.allowed != expected || verdict.rule.empty()) abort();
  // A pattern of one star matches everything; one without stars and question marks matches itself.
  if (!blockexport::authz::matches_glob("*", identity)) abort();
  bool is_plain = identity.find_first_of("*?") == std::string_view::npos;
  if (is_plain && !blockexport::authz::matches_glob(identity, identity)) abort();
  return 0;
}
