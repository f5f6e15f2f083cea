// Typed members of a JSON object from an untrusted file: values or nothing. Thread: any.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "client/backup/sha256.h"
#include "json/value.h"

namespace blockexport::backup {

// An integer from 0 to 2^63 - 1.
std::optional<std::uint64_t> count_in(const json::Object& object, std::string_view name);
// A text of at most `bytes_max` bytes.
std::optional<std::string> text_in(const json::Object& object, std::string_view name, std::size_t bytes_max);
std::optional<Sha256> sum_in(const json::Object& object, std::string_view name);
const json::Object* object_in(const json::Object& object, std::string_view name);

// Parses one small JSON object: few members, little nesting. Nothing for any other text.
std::optional<json::Object> parse_small_object(std::string_view text);

// True if JSON keeps the text as it is: UTF-8 without noncharacters.
bool is_kept_by_json(std::string_view text);

}  // namespace blockexport::backup
