// ObjectStore: the objects that users make with object-add, by id, with the properties that qom-get and qom-set show.
// Owned by Control; thread: the control reactor.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "json/value.h"

namespace blockexport::control {

struct PropertyDescription {
  std::string_view name;
  std::string_view type;
};

class UserObject {
 public:
  explicit UserObject(std::string id) : id_(std::move(id)) {}
  virtual ~UserObject() = default;

  const std::string& id() const { return id_; }
  // "iothread", ...
  virtual std::string_view type_name() const = 0;
  // All but "type", which every object has.
  virtual std::span<const PropertyDescription> properties() const = 0;
  // `name` is one of properties().
  virtual json::Value get(std::string_view name) const = 0;
  virtual Result<> set(std::string_view name, const json::Value& value) = 0;

  // How many others use it; one that is used is not removed.
  int users = 0;

 private:
  std::string id_;
};

class ObjectStore {
 public:
  // Null when there is none.
  UserObject* find(std::string_view id) const;
  // Errors: a malformed id, an id in use.
  Result<> add(std::unique_ptr<UserObject> object);
  // Errors: "object 'X' not found", "object 'X' is in use, can not be deleted".
  Result<> remove(std::string_view id);

  const std::vector<std::unique_ptr<UserObject>>& all() const { return objects_; }

 private:
  std::vector<std::unique_ptr<UserObject>> objects_;
};

}  // namespace blockexport::control
