// ObjectOf<Values>: an object whose properties are the members of Values, a struct of the schema.
//
// The schema has their names, types and order; an object adds its defaults, the set of fixed properties, and the
// effects of a change. property_of() and with_property() are for objects that hold such structs in another way.
// Thread: the control reactor.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "control/core/object_store.h"
#include "json/value.h"
#include "schema/codec.h"
#include "schema/property.h"

namespace blockexport::control {

// The value of the property `name` of a struct; null if the struct has no such property or no value for it.
template <class Values>
json::Value property_of(const Values& values, std::string_view name) {
  json::Value all = schema::encode(values);
  json::Value* value = all.as_object()->find(name);
  return value != nullptr ? std::move(*value) : json::Value();
}

// A copy of the struct with another value of the property `name`, which exists. Errors: a value of a wrong type, or an
// unknown enumeration value.
template <class Values>
Result<Values> with_property(const Values& values, std::string_view name, const json::Value& value) {
  json::Value all = schema::encode(values);
  all.as_object()->set(std::string(name), value);
  return schema::decode<Values>(all);
}

template <class Values>
class ObjectOf : public UserObject {
 public:
  std::span<const schema::Property> properties() const final { return schema::Properties<Values>::kAll; }
  json::Value get(std::string_view name) const final { return property_of(shown_, name); }
  Result<> set(std::string_view name, const json::Value& value) final {
    TRY_ASSIGN(Values changed, with_property(shown_, name, value));
    return change(name, std::move(changed));
  }

 protected:
  // `shown` has a value for each readable property: the values of qom-get.
  ObjectOf(std::string id, Values shown) : UserObject(std::move(id)), shown_(std::move(shown)) {}

  const Values& shown() const { return shown_; }
  void show(Values values) { shown_ = std::move(values); }
  // qom-set has changed the property `name`, and `changed` has all new values: applies them. Errors: an invalid value;
  // then nothing is applied.
  virtual Result<> change(std::string_view /*name*/, Values changed) {
    show(std::move(changed));
    return {};
  }

 private:
  Values shown_;
};

}  // namespace blockexport::control
