// Short ways to write JSON values in the tests of this folder. Thread: any.
#pragma once

#include <initializer_list>
#include <utility>

#include "json/value.h"

namespace blockexport::schema::test {

inline json::Value object(std::initializer_list<json::Object::Member> members) {
  return json::Object(members);
}

inline json::Value array(std::initializer_list<json::Value> elements) {
  return json::Array(elements);
}

}  // namespace blockexport::schema::test
