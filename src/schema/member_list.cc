#include "schema/member_list.h"

#include <algorithm>
#include <utility>

namespace blockexport::schema {
namespace {

// Deepest nesting of optional objects in the list, which also ends types that contain themselves.
constexpr std::size_t kListedDepthMax = 6;

bool is_scalar(JsonKind kind) {
  return kind != JsonKind::kObject && kind != JsonKind::kArray && kind != JsonKind::kNull;
}

}  // namespace

std::string MemberLister::full_name(Name name) const {
  std::string text = frames_.empty() ? std::string() : frames_.back().prefix;
  return text + (name != nullptr ? name : "0");
}

const json::Value* MemberLister::written(Name name) const {
  if (frames_.empty()) return &document_;
  const json::Value* around = frames_.back().document;
  const json::Object* object = around != nullptr ? around->as_object() : nullptr;
  return object != nullptr ? object->find(name != nullptr ? name : "0") : nullptr;
}

void MemberLister::open(Name name) {
  const bool is_root = frames_.empty();
  const bool was_optional = std::exchange(next_is_optional_, false);
  const bool was_hidden = std::exchange(next_is_hidden_, false);
  Frame frame{.prefix = is_root ? std::string() : full_name(name) + ".",
              .document = written(name),
              .is_optional = was_optional || (!is_root && frames_.back().is_optional),
              .is_hidden = was_hidden || (!is_root && frames_.back().is_hidden)};
  frames_.push_back(std::move(frame));
}

bool MemberLister::note(Name name, std::string type) {
  const bool is_optional = std::exchange(next_is_optional_, false) || (!frames_.empty() && frames_.back().is_optional);
  const bool is_hidden = std::exchange(next_is_hidden_, false) || (!frames_.empty() && frames_.back().is_hidden);
  if (!is_hidden) {
    members_.push_back({.name = full_name(name), .type = std::move(type), .is_required = !is_optional});
  }
  return true;
}

bool MemberLister::begin_object(Name name) {
  open(name);
  return true;
}

bool MemberLister::end_object() {
  frames_.pop_back();
  return true;
}

bool MemberLister::begin_list(Name name, std::size_t& count) {
  open(name);
  frames_.back().is_optional = true;
  count = frames_.size() <= kListedDepthMax ? 1 : 0;
  return true;
}

bool MemberLister::end_list() {
  frames_.pop_back();
  return true;
}

bool MemberLister::optional(Name /*name*/, bool /*has*/) {
  const bool is_hidden = !frames_.empty() && frames_.back().is_hidden;
  if (is_hidden || frames_.size() > kListedDepthMax) return false;
  next_is_optional_ = true;
  return true;
}

// Lists the alternate as one member, and hides the members of the branch that is visited next (a scalar one, if any).
bool MemberLister::alternate(Name name, const char* type, std::span<const JsonKind> kinds, std::size_t& which) {
  note(name, type);
  next_is_hidden_ = true;
  const auto scalar = std::ranges::find_if(kinds, is_scalar);
  which = scalar != kinds.end() ? static_cast<std::size_t>(scalar - kinds.begin()) : 0;
  return true;
}

bool MemberLister::boolean(Name name, bool& /*value*/) {
  return note(name, "bool");
}
bool MemberLister::integer(Name name, std::int64_t& /*value*/) {
  return note(name, "int");
}
bool MemberLister::unsigned_integer(Name name, std::uint64_t& /*value*/) {
  return note(name, "int");
}
bool MemberLister::size(Name name, std::uint64_t& /*bytes*/) {
  return note(name, "size");
}
bool MemberLister::number(Name name, double& /*value*/) {
  return note(name, "number");
}
bool MemberLister::string(Name name, std::string& /*value*/) {
  return note(name, "string");
}
bool MemberLister::null(Name name) {
  return note(name, "null");
}
bool MemberLister::any(Name name, json::Value& /*value*/) {
  return note(name, "any");
}

bool MemberLister::enumeration(Name name, std::span<const std::string_view> names, std::size_t& index) {
  const json::Value* value = written(name);
  const std::string* text = value != nullptr ? value->as_string() : nullptr;
  const auto found = text != nullptr ? std::ranges::find(names, *text) : names.end();
  index = found != names.end() ? static_cast<std::size_t>(found - names.begin()) : 0;
  std::string type;
  for (std::string_view one : names) {
    if (!type.empty()) type += '|';
    type += one;
  }
  return note(name, std::move(type));
}

// Never called, since this visitor reads no values.
bool MemberLister::out_of_range(Name /*name*/, const char* /*c_type*/) {
  return false;
}

}  // namespace blockexport::schema
