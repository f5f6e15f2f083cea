// EnumNames<E>: names of the values of a schema's enum: kNames, in the order of the values.
//
// Generated headers specialise it; other code uses name_of() and value_of(). Thread: any.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <optional>
#include <string_view>

namespace blockexport::schema {

template <class E>
struct EnumNames;

template <class E>
concept SchemaEnum = requires { EnumNames<E>::kNames.size(); };

// The name on the wire.
template <SchemaEnum E>
constexpr std::string_view name_of(E value) {
  return EnumNames<E>::kNames[static_cast<std::size_t>(value)];
}

// The value of that name, if there is one.
template <SchemaEnum E>
constexpr std::optional<E> value_of(std::string_view name) {
  for (std::size_t i = 0; i < EnumNames<E>::kNames.size(); ++i) {
    if (EnumNames<E>::kNames[i] == name) return static_cast<E>(i);
  }
  return std::nullopt;
}

// The schema language's built-in enum of JSON types.
enum class QType { kNone, kQnull, kQnum, kQstring, kQdict, kQlist, kQbool };
template <>
struct EnumNames<QType> {
  static constexpr std::array<std::string_view, 7> kNames{"none",  "qnull", "qnum", "qstring",
                                                          "qdict", "qlist", "qbool"};
};

}  // namespace blockexport::schema
