#include "schema/encoder.h"

#include <cassert>

namespace blockexport::schema {

bool Encoder::put(Name name, json::Value value) {
  if (frames_.empty()) {
    document_ = std::move(value);
  } else if (json::Array* array = frames_.back().value.as_array()) {
    array->push_back(std::move(value));
  } else {
    frames_.back().value.as_object()->insert(name, std::move(value));
  }
  return true;
}

bool Encoder::close() {
  assert(!frames_.empty());
  Frame frame = std::move(frames_.back());
  frames_.pop_back();
  return put(frame.name, std::move(frame.value));
}

bool Encoder::begin_object(Name name) {
  frames_.push_back({.name = name, .value = json::Object{}});
  return true;
}
bool Encoder::end_object() {
  return close();
}

bool Encoder::begin_list(Name name, std::size_t& count) {
  frames_.push_back({.name = name, .value = json::Array{}});
  frames_.back().value.as_array()->reserve(count);
  return true;
}
bool Encoder::end_list() {
  return close();
}

bool Encoder::optional(Name /*name*/, bool has) {
  return has;
}
bool Encoder::alternate(Name /*name*/, const char* /*type*/, std::span<const JsonKind> /*kinds*/,
                        std::size_t& /*which*/) {
  return true;
}

bool Encoder::boolean(Name name, bool& value) {
  return put(name, value);
}
bool Encoder::integer(Name name, std::int64_t& value) {
  return put(name, value);
}
bool Encoder::unsigned_integer(Name name, std::uint64_t& value) {
  return put(name, value);
}
bool Encoder::size(Name name, std::uint64_t& bytes) {
  return put(name, bytes);
}
bool Encoder::number(Name name, double& value) {
  return put(name, value);
}
bool Encoder::string(Name name, std::string& value) {
  return put(name, value);
}
bool Encoder::null(Name name) {
  return put(name, json::Null{});
}
bool Encoder::any(Name name, json::Value& value) {
  return put(name, value);
}
bool Encoder::enumeration(Name name, std::span<const std::string_view> names, std::size_t& index) {
  assert(index < names.size());
  return put(name, names[index]);
}

// A value that was read from a small integer always fits.
bool Encoder::out_of_range(Name /*name*/, const char* /*c_type*/) {
  __builtin_unreachable();
}

}  // namespace blockexport::schema
