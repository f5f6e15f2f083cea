// json::Value: one JSON document in memory, as QMP knows it.
//
// Numbers keep the three shapes QAPI tells apart: a signed integer, an unsigned integer above INT64_MAX, and a double.
// Objects keep insertion order; a name occurs once. Strings are UTF-8 and may hold the two-byte form C0 80 for U+0000.
// Thread: one at a time. Copying is deep and explicit in cost; moves are cheap.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

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
  Object(std::initializer_list<Member> members);

  // The member of that name, or null. Linear in a small object, hashed in a large one.
  const Value* find(std::string_view name) const;
  Value* find(std::string_view name);
  // Adds a member, or replaces the value of the one that has this name.
  void set(std::string name, Value value);
  // Adds a member if the name is new; false, and nothing changed, if it is taken.
  bool insert(std::string name, Value value);
  // Removes it; false when there was none.
  bool erase(std::string_view name);

  bool empty() const { return members_.empty(); }
  std::size_t size() const { return members_.size(); }
  std::vector<Member>::const_iterator begin() const;
  std::vector<Member>::const_iterator end() const;

  friend bool operator==(const Object& a, const Object& b);  // order does not matter

 private:
  // ... the json component owns the representation; the interface above is what others rely on.
  std::vector<Member> members_;
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
  Value(std::string value);
  Value(std::string_view value);
  Value(const char* value);
  Value(Array value);
  Value(Object value);

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
  Array* as_array();
  Object* as_object();

  friend bool operator==(const Value& a, const Value& b);

 private:
  std::variant<Null, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> data_;
};

}  // namespace blockexport::json
