// JSON to typed values of the schema and back: decode, decode_keyval, encode. T is any generated type or a list of one.
//
// Thread: any; nothing is kept. Errors have QMP's texts and name the member; keyval's hold for command lines.
#pragma once

#include "base/error.h"
#include "json/value.h"
#include "schema/decoder.h"
#include "schema/encoder.h"
#include "schema/keyval_decoder.h"
#include "schema/visitor.h"

namespace blockexport::schema {

// Reads a T; JSON types must be exactly the schema's.
template <class T>
Result<T> decode(const json::Value& document) {
  Decoder decoder(document);
  T value{};
  if (!visit(decoder, nullptr, value)) return std::unexpected(decoder.take_error());
  return value;
}

// Reads a T out of what json/keyval.h made of key=value text: all scalars are strings.
template <class T>
Result<T> decode_keyval(const json::Value& document) {
  KeyvalDecoder decoder(document);
  T value{};
  if (!visit(decoder, nullptr, value)) return std::unexpected(decoder.take_error());
  return value;
}

template <class T>
json::Value encode(const T& value) {
  Encoder encoder;
  // One visit function serves readers and writers; a writer changes nothing.
  visit(encoder, nullptr, const_cast<T&>(value));
  return encoder.take();
}

// The arguments of a command, which stand for {} when they are absent.
template <class T>
Result<T> decode_arguments(const json::Value* arguments) {
  return arguments != nullptr ? decode<T>(*arguments) : decode<T>(json::Value(json::Object{}));
}

// For a command that takes none: an error when there are some.
Result<> check_no_arguments(const json::Value* arguments);

}  // namespace blockexport::schema
