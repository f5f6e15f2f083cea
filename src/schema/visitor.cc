#include "schema/visitor.h"

namespace blockexport::schema {

// std::vector<bool> has no references to its elements.
bool visit(Visitor& visitor, Name name, std::vector<bool>& list) {
  std::size_t count = list.size();
  if (!visitor.begin_list(name, count)) return false;
  for (std::size_t i = 0; i < count; ++i) {
    if (i == list.size()) list.push_back(false);
    bool value = list[i];
    if (!visitor.boolean(nullptr, value)) return false;
    list[i] = value;
  }
  return visitor.end_list();
}

bool visit(Visitor& visitor, Name name, OptionalSizeRef value) {
  if (!visitor.optional(name, value.bytes.has_value())) return true;
  if (!value.bytes.has_value()) value.bytes.emplace();
  return visitor.size(name, *value.bytes);
}

bool visit(Visitor& visitor, Name name, SizeListRef value) {
  std::size_t count = value.bytes.size();
  if (!visitor.begin_list(name, count)) return false;
  for (std::size_t i = 0; i < count; ++i) {
    if (i == value.bytes.size()) value.bytes.emplace_back();
    if (!visitor.size(nullptr, value.bytes[i])) return false;
  }
  return visitor.end_list();
}

bool visit(Visitor& visitor, Name name, OptionalSizeListRef value) {
  if (!visitor.optional(name, value.bytes.has_value())) return true;
  if (!value.bytes.has_value()) value.bytes.emplace();
  return visit(visitor, name, SizeListRef{*value.bytes});
}

}  // namespace blockexport::schema
