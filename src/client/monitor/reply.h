// Members of a daemon's reply, which is untrusted: values of the expected type, or nothing. Thread: any.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "json/value.h"

namespace blockexport::monitor {

// A member of that name that is a string; "" if there is none.
std::string_view text_of(const json::Object& object, std::string_view name);
// A member of that name that is an integer from 0 to 2^64 - 1.
std::optional<std::uint64_t> count_of(const json::Object& object, std::string_view name);
// True if a member of that name is true.
bool flag_of(const json::Object& object, std::string_view name);
// A member of that name that is an object; null if there is none.
const json::Object* object_of(const json::Object& object, std::string_view name);
// The elements of a member of that name that is a list.
std::span<const json::Value> list_of(const json::Object& object, std::string_view name);
// The elements of a value that is a list.
std::span<const json::Value> elements_of(const json::Value& value);

// The whole text, with control bytes escaped.
std::string escaped(std::string_view text);
// Prints a value to standard output, with indentation.
void print_json(const json::Value& value);

}  // namespace blockexport::monitor
