// json::Value: one JSON document in memory, as QMP knows it.
//
// Numbers keep the three shapes QAPI tells apart: a signed integer, an unsigned integer above INT64_MAX, and a double.
// Objects keep insertion order; a name occurs once. Strings are UTF-8 and may hold the two-byte form C0 80 for U+0000.
// A string may be a secret: a value leaves none of its bytes behind, neither when it is moved nor when it ends.
// Thread: one at a time. Copying is deep and explicit in cost; moves are cheap.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "base/wiped_text.h"

namespace blockexport::json {

class Value;
struct Null {
  friend bool operator==(Null, Null) { return true; }
};
using Array = std::vector<Value>;

class Object {
 public:
  using Member = std::pair<std::string, Value>;

  Object() = default;
  // Of two members with one name the later value wins.
  Object(std::initializer_list<Member> members);
  Object(const Object& other);
  Object(Object&& other) noexcept;
  Object& operator=(const Object& other);
  Object& operator=(Object&& other) noexcept;
  ~Object();

  // The member of that name, or null. Linear in a small object, hashed in a large one.
  const Value* find(std::string_view name) const;
  Value* find(std::string_view name);
  // Adds a member, or replaces the value of the one that has this name.
  void set(std::string name, Value value);
  // Adds a member if the name is new; false, and nothing changed, if it is taken.
  bool insert(std::string name, Value value);
  // Removes it; false when there was none.
  bool erase(std::string_view name);

  bool empty() const;
  std::size_t size() const;
  std::vector<Member>::const_iterator begin() const;
  std::vector<Member>::const_iterator end() const;

  friend bool operator==(const Object& a, const Object& b);  // order does not matter

 private:
  // Slots of an open-addressed table, a power of two: 0 is free, otherwise 1 + the place in members_.
  using Index = std::vector<std::uint32_t>;

  std::size_t place_of(std::string_view name) const;
  void append(std::string name, Value value);
  void enter_in_index(std::size_t place);
  void rebuild_index(std::size_t slots);

  std::vector<Member> members_;
  std::unique_ptr<Index> index_;  // only a large object has one
};

enum class Kind { kNull, kBool, kInteger, kUnsigned, kDouble, kString, kArray, kObject };

class Value {
 public:
  Value() = default;  // null
  Value(Null) {}
  Value(bool value);
  // Any integral type: stored as kInteger when it fits int64_t, as kUnsigned above.
  template <class T>
    requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
  Value(T value);
  Value(double value);
  Value(const std::string& value);
  Value(std::string&& value);
  Value(std::string_view value);
  Value(const char* value);
  Value(Array value);
  Value(Object value);
  // A pointer would otherwise turn into a bool.
  template <class T>
    requires(!std::is_same_v<std::remove_const_t<T>, char>)
  Value(T*) = delete;

  Kind kind() const;
  bool is_null() const { return kind() == Kind::kNull; }

  // Null when the value is of another kind.
  const bool* as_bool() const;
  const std::int64_t* as_integer() const;
  const std::uint64_t* as_unsigned() const;
  const double* as_double() const;
  const std::string* as_string() const;
  const Array* as_array() const;
  const Object* as_object() const;
  std::string* as_string();
  Array* as_array();
  Object* as_object();

  friend bool operator==(const Value& a, const Value& b);

 private:
  std::variant<Null, bool, std::int64_t, std::uint64_t, double, WipedText, Array, Object> data_;
};

template <class T>
  requires(std::is_integral_v<T> && !std::is_same_v<T, bool>)
Value::Value(T value) {
  if (std::in_range<std::int64_t>(value)) {
    data_ = static_cast<std::int64_t>(value);
  } else {
    data_ = static_cast<std::uint64_t>(value);
  }
}

}  // namespace blockexport::json
