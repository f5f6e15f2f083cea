// Visitor: interface to which the members of a schema's value are passed one by one, in the schema's order, for reading
// or writing.
//
// Generated visit_members() functions pass each member with its name on the wire; a list's elements have no name
// (null). A call returns false on an error, which the visitor records, and ends the visit. Readers set the value that
// is passed, writers never change it. Thread: one at a time; a visitor serves one value.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "base/wiped_text.h"
#include "json/value.h"
#include "schema/box.h"
#include "schema/enum_names.h"

namespace blockexport::schema {

using Name = const char*;

// The kind of JSON value that selects a branch of an alternate.
enum class JsonKind { kNull, kBoolean, kNumber, kString, kArray, kObject };

class Visitor {
 public:
  virtual bool begin_object(Name name) = 0;
  virtual bool end_object() = 0;
  // A reader sets `count`, a writer uses it; that many elements follow.
  virtual bool begin_list(Name name, std::size_t& count) = 0;
  virtual bool end_list() = 0;
  // Returns whether an optional member follows; `has`: whether the value has it (for writers). Never an error.
  virtual bool optional(Name name, bool has) = 0;
  // Sets the branch of an alternate that follows: an index into `kinds`. `type` is the alternate's name, for messages.
  virtual bool alternate(Name name, const char* type, std::span<const JsonKind> kinds, std::size_t& which) = 0;

  virtual bool boolean(Name name, bool& value) = 0;
  virtual bool integer(Name name, std::int64_t& value) = 0;
  virtual bool unsigned_integer(Name name, std::uint64_t& value) = 0;
  virtual bool size(Name name, std::uint64_t& bytes) = 0;
  virtual bool number(Name name, double& value) = 0;
  virtual bool string(Name name, std::string& value) = 0;
  virtual bool null(Name name) = 0;
  virtual bool any(Name name, json::Value& value) = 0;
  virtual bool enumeration(Name name, std::span<const std::string_view> names, std::size_t& index) = 0;
  // Reports an integer that does not fit `c_type`. Always returns false.
  virtual bool out_of_range(Name name, const char* c_type) = 0;

 protected:
  ~Visitor() = default;
};

inline bool visit(Visitor& visitor, Name name, bool& value) {
  return visitor.boolean(name, value);
}
inline bool visit(Visitor& visitor, Name name, std::int64_t& value) {
  return visitor.integer(name, value);
}
inline bool visit(Visitor& visitor, Name name, std::uint64_t& value) {
  return visitor.unsigned_integer(name, value);
}
inline bool visit(Visitor& visitor, Name name, double& value) {
  return visitor.number(name, value);
}
inline bool visit(Visitor& visitor, Name name, std::string& value) {
  return visitor.string(name, value);
}
inline bool visit(Visitor& visitor, Name name, WipedText& value) {
  return visitor.string(name, value.string());
}
inline bool visit(Visitor& visitor, Name name, json::Null& /*value*/) {
  return visitor.null(name);
}
inline bool visit(Visitor& visitor, Name name, json::Value& value) {
  return visitor.any(name, value);
}

// Visits through the 64-bit integer of the same sign.
template <class T>
bool visit_small_integer(Visitor& visitor, Name name, T& value, const char* c_type) {
  // NOLINTNEXTLINE(bugprone-signed-char-misuse): a signed char is a number here.
  std::conditional_t<std::is_signed_v<T>, std::int64_t, std::uint64_t> wide = value;
  if (!visit(visitor, name, wide)) return false;
  if (wide < std::numeric_limits<T>::min() || wide > std::numeric_limits<T>::max()) {
    return visitor.out_of_range(name, c_type);
  }
  value = static_cast<T>(wide);
  return true;
}
inline bool visit(Visitor& visitor, Name name, std::int8_t& value) {
  return visit_small_integer(visitor, name, value, "int8_t");
}
inline bool visit(Visitor& visitor, Name name, std::int16_t& value) {
  return visit_small_integer(visitor, name, value, "int16_t");
}
inline bool visit(Visitor& visitor, Name name, std::int32_t& value) {
  return visit_small_integer(visitor, name, value, "int32_t");
}
inline bool visit(Visitor& visitor, Name name, std::uint8_t& value) {
  return visit_small_integer(visitor, name, value, "uint8_t");
}
inline bool visit(Visitor& visitor, Name name, std::uint16_t& value) {
  return visit_small_integer(visitor, name, value, "uint16_t");
}
inline bool visit(Visitor& visitor, Name name, std::uint32_t& value) {
  return visit_small_integer(visitor, name, value, "uint32_t");
}

template <SchemaEnum E>
bool visit(Visitor& visitor, Name name, E& value) {
  auto index = static_cast<std::size_t>(value);
  if (!visitor.enumeration(name, EnumNames<E>::kNames, index)) return false;
  value = static_cast<E>(index);
  return true;
}

// An object: its generated visit_members() between begin and end.
template <class T>
  requires requires(Visitor& visitor, T& value) { visit_members(visitor, value); }
bool visit(Visitor& visitor, Name name, T& value) {
  return visitor.begin_object(name) && visit_members(visitor, value) && visitor.end_object();
}

template <class T>
bool visit_members(Visitor& visitor, Box<T>& box) {
  if (box.empty()) box.emplace();
  return visit_members(visitor, *box);
}
template <class T>
bool visit(Visitor& visitor, Name name, Box<T>& box) {
  if (box.empty()) box.emplace();
  return visit(visitor, name, *box);
}

template <class T>
bool visit(Visitor& visitor, Name name, std::optional<T>& value) {
  if (!visitor.optional(name, value.has_value())) {
    return true;
  }
  if (!value.has_value()) value.emplace();
  return visit(visitor, name, *value);
}

template <class T>
bool visit(Visitor& visitor, Name name, std::vector<T>& list) {
  std::size_t count = list.size();
  if (!visitor.begin_list(name, count)) return false;
  // Grows element by element, so that a long list with an error at its start costs little.
  for (std::size_t i = 0; i < count; ++i) {
    if (i == list.size()) list.emplace_back();
    if (!visit(visitor, nullptr, list[i])) return false;
  }
  return visitor.end_list();
}
bool visit(Visitor& visitor, Name name, std::vector<bool>& list);

// The schema's `size`: an unsigned integer for which command lines take suffixes.
struct SizeRef {
  std::uint64_t& bytes;
};
struct OptionalSizeRef {
  std::optional<std::uint64_t>& bytes;
};
struct SizeListRef {
  std::vector<std::uint64_t>& bytes;
};
struct OptionalSizeListRef {
  std::optional<std::vector<std::uint64_t>>& bytes;
};
inline SizeRef as_size(std::uint64_t& bytes) {
  return {bytes};
}
inline OptionalSizeRef as_size(std::optional<std::uint64_t>& bytes) {
  return {bytes};
}
inline SizeListRef as_size(std::vector<std::uint64_t>& bytes) {
  return {bytes};
}
inline OptionalSizeListRef as_size(std::optional<std::vector<std::uint64_t>>& bytes) {
  return {bytes};
}
inline bool visit(Visitor& visitor, Name name, SizeRef value) {
  return visitor.size(name, value.bytes);
}
bool visit(Visitor& visitor, Name name, OptionalSizeRef value);
bool visit(Visitor& visitor, Name name, SizeListRef value);
bool visit(Visitor& visitor, Name name, OptionalSizeListRef value);

// Returns the alternative at kIndex, after creating it if the variant holds another one.
template <std::size_t kIndex, class... T>
auto& hold(std::variant<T...>& variant) {
  if (auto* held = std::get_if<kIndex>(&variant)) return *held;
  return variant.template emplace<kIndex>();
}
inline bool visit_nothing(std::monostate& /*branch*/) {
  return true;
}

}  // namespace blockexport::schema
