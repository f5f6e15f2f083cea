// Codec between JSON and the schema's types: decode, decode_keyval, encode. T is a generated type or a list of one.
//
// Thread: any; no state. Errors have QSD's texts and name the member.
#pragma once

#include "base/error.h"
#include "json/value.h"
#include "schema/decoder.h"
#include "schema/encoder.h"
#include "schema/keyval_decoder.h"
#include "schema/visitor.h"

namespace blockexport::schema {

// Decodes a T; the JSON types must be exactly the schema's.
template <class T>
Result<T> decode(const json::Value& document) {
  Decoder decoder(document);
  T value{};
  if (!visit(decoder, nullptr, value)) return std::unexpected(decoder.take_error());
  return value;
}

// Decodes a T from the result of json/keyval.h for key=value text, in which all scalars are strings.
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
  // One visit function serves readers and writers; a writer does not change the value.
  visit(encoder, nullptr, const_cast<T&>(value));
  return encoder.take();
}

// Decodes the arguments of a command; absent arguments count as {}.
template <class T>
Result<T> decode_arguments(const json::Value* arguments) {
  return arguments != nullptr ? decode<T>(*arguments) : decode<T>(json::Value(json::Object{}));
}

// For a command without arguments: an error when the client sent some.
Result<> check_no_arguments(const json::Value* arguments);

}  // namespace blockexport::schema
