// ObjectOf<Values>: an object whose properties are the members of Values, a struct of the schema.
//
// The schema has their names, types and order; an object adds what is special: defaults, which of them are fixed, and
// the effects of a change. property_of() and with_property() are for objects that hold such structs in another way.
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

// The value of the property `name` of a struct that has one for it; null otherwise.
template <class Values>
json::Value property_of(const Values& values, std::string_view name) {
  json::Value all = schema::encode(values);
  json::Value* value = all.as_object()->find(name);
  return value != nullptr ? std::move(*value) : json::Value();
}

// The struct with another value of the property `name`, which it has. Errors: the value is of a wrong type, or is none
// of those that the type has.
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
  // `shown` has a value for each property that can be read: what qom-get shows.
  ObjectOf(std::string id, Values shown) : UserObject(std::move(id)), shown_(std::move(shown)) {}

  const Values& shown() const { return shown_; }
  void show(Values values) { shown_ = std::move(values); }
  // qom-set has given the property `name` its new value in `changed`: takes it over, with what follows. Errors: a value
  // that cannot be, of which nothing is taken over.
  virtual Result<> change(std::string_view /*name*/, Values changed) {
    show(std::move(changed));
    return {};
  }

 private:
  Values shown_;
};

}  // namespace blockexport::control
