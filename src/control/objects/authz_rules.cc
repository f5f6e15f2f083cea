#include "control/objects/authz_rules.h"

#include <fmt/format.h>

#include "json/parser.h"
#include "schema/codec.h"

namespace blockexport::control {

authz::RuleList to_rule_list(const schema::AuthZListProperties& properties) {
  auto allows = [](schema::QAuthZListPolicy policy) { return policy == schema::QAuthZListPolicy::kAllow; };
  authz::RuleList list;
  list.allows_others = properties.policy && allows(*properties.policy);
  if (!properties.rules) return list;
  for (const schema::QAuthZListRule& rule : *properties.rules) {
    bool is_glob = rule.format == schema::QAuthZListFormat::kGlob;
    list.rules.push_back({.match = rule.match,
                          .allows = allows(rule.policy),
                          .format = is_glob ? authz::Rule::Format::kGlob : authz::Rule::Format::kExact});
  }
  return list;
}

Result<authz::RuleList> parse_rule_list(std::string_view filename, std::string_view text) {
  auto with_name = [filename](Error error) {
    return fail(std::move(error).with_prefix(fmt::format("File '{}': ", filename)));
  };
  auto document = json::parse(text, {.message_bytes_max = authz::kListFileBytesMax,
                                     .tokens_max = kListFileTokensMax,
                                     .nesting_max = kListFileNestingMax});
  if (!document) return with_name(std::move(document).error());
  if (document->as_object() == nullptr) return fail(fmt::format("File '{}' must contain a JSON object", filename));
  auto properties = schema::decode<schema::AuthZListProperties>(*document);
  if (!properties) return with_name(std::move(properties).error());
  return to_rule_list(*properties);
}

}  // namespace blockexport::control
