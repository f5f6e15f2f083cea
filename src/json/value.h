// json::Value: a JSON document in memory, with the number types of QMP.
//
// A number is one of the three kinds that QAPI distinguishes: a signed integer, an unsigned integer above INT64_MAX,
// and a double. Objects keep insertion order; a name occurs once. Strings are UTF-8 and may hold the two-byte form C0
// 80 for U+0000. A string may be a secret: a value wipes the bytes when it is moved or destroyed. Thread: one at a
// time. Copying is deep and explicit in cost; moves are cheap.
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
  // Open-addressed hash table, whose size is a power of two: a slot holds 0 when free, otherwise 1 + an index into
  // members_.
  using Index = std::vector<std::uint32_t>;

  std::size_t position_of(std::string_view name) const;
  void append(std::string name, Value value);
  void enter_in_index(std::size_t position);
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
  // Without this, a pointer would convert to bool.
  template <class T>
    requires(!std::is_same_v<std::remove_const_t<T>, char>)
  Value(T*) = delete;

  Kind kind() const;
  bool is_null() const { return kind() == Kind::kNull; }

  // Each returns null when the value is of another kind.
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
