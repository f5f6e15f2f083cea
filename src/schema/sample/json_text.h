// Short functions for JSON values and decoded results in the tests of this folder. Thread: any.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "base/error.h"
#include "json/value.h"

namespace blockexport::schema::test {

inline json::Value object(std::initializer_list<json::Object::Member> members) {
  return json::Object(members);
}

inline json::Value array(std::initializer_list<json::Value> elements) {
  return json::Array(elements);
}

// The decoded value; fails the test when `read` is an error.
template <class T>
T value_of(Result<T> read) {
  EXPECT_TRUE(read.has_value()) << (read ? "" : read.error().message());
  return read ? std::move(*read) : T{};
}

// The error's message; empty when there is none.
template <class T>
std::string error_of(const Result<T>& read) {
  return read ? "" : read.error().message();
}

}  // namespace blockexport::schema::test
