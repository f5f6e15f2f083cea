// ObjectStore: the objects that users make with object-add, by id, with the properties of qom-get and qom-set.
// Owned by Control; thread: the control reactor.
#pragma once

#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aio/task/task.h"
#include "authz/authorizer.h"
#include "base/error.h"
#include "base/origin.h"
#include "base/reserved_names.h"
#include "base/secret_bytes.h"
#include "json/value.h"
#include "net/tls_credentials.h"
#include "schema/property.h"

namespace blockexport::aio {
struct DataReactor;
}
namespace blockexport::drivers {
class ThrottleGroup;
}

namespace blockexport::control {

// The bytes of a secret, which live as long as the last reference.
using SecretReference = std::shared_ptr<const SecretBytes>;

class UserObject {
 public:
  explicit UserObject(std::string id) : id_(std::move(id)) {}
  virtual ~UserObject() = default;

  const std::string& id() const { return id_; }
  // Name of the type, as "iothread".
  virtual std::string_view type_name() const = 0;
  // All properties except "type", which every object has.
  virtual std::span<const schema::Property> properties() const = 0;
  // True if qom-set may change the property. `name` is one of properties(), here and below.
  virtual bool is_writable(std::string_view /*name*/) const { return true; }
  // The value of a property that is not secret.
  virtual json::Value get(std::string_view name) const = 0;
  virtual Result<> set(std::string_view name, const json::Value& value) = 0;

  // Slow initialisation, such as reading files, after all properties are set. Errors: the object is unusable, and is
  // closed.
  virtual aio::Task<Result<>> complete() { co_return Result<>(); }
  // Ends its background work. Called before destruction if complete() was called.
  virtual aio::Task<void> close() { co_return; }

  // True if commands are received through it: then it is closed after all others when the daemon ends.
  virtual bool serves_commands() const { return false; }
  // The daemon begins to serve, when every option of the command line was executed. Not called for later objects.
  virtual void begin_service() {}

  // The reactor of its thread; null for objects of other kinds.
  virtual aio::DataReactor* own_reactor() { return nullptr; }
  // The authorizer; null for objects of other kinds.
  virtual std::shared_ptr<authz::Authorizer> authorizer() { return nullptr; }
  // The secret's bytes; null for objects of other kinds.
  virtual SecretReference secret() { return nullptr; }
  // The current TLS credentials; null for objects of other kinds.
  virtual net::TlsCredentialsReference tls_credentials() { return nullptr; }

  // The throttle group; null for objects of other kinds.
  virtual std::shared_ptr<drivers::ThrottleGroup> throttle_group() { return nullptr; }

  // Fails if something uses the object, which cannot be removed then.
  virtual Result<> check_removable() const;
  // The daemon begins to end: from now on the object may hold up no requests.
  virtual void begin_shutdown() {}

  // Number of its users; an object in use cannot be removed.
  int users = 0;
  Origin origin = Origin::kCommand;

 private:
  std::string id_;
};

class ObjectStore {
 public:
  // Null when there is no object of that id.
  UserObject* find(std::string_view id) const;
  // Errors: a malformed id.
  static Result<> check_id(std::string_view id);
  // Reserves the id of an object that is being made, until add(). Errors: the id belongs to another object, made or
  // being made.
  Result<ReservedNames::Reservation> reserve(std::string_view id);
  // Adds a completed object with a reserved, well-formed id.
  void add(std::unique_ptr<UserObject> object);
  // Completed objects that a reload of the configuration will add, or put in the place of others: until then only
  // openings find them, before those of the same id. The objects outlive their time here.
  void stage(std::vector<UserObject*> objects) { staged_ = std::move(objects); }
  UserObject* find_for_opening(std::string_view id) const;
  // Puts a completed object in the place of the one of its id, and returns that one to be closed.
  std::unique_ptr<UserObject> replace(std::unique_ptr<UserObject> object);
  // Removes the object and returns it to be closed. Errors: "object 'X' not found", or that of check_removable().
  Result<std::unique_ptr<UserObject>> remove(std::string_view id);
  // Closes and destroys the objects that receive commands, or all others, newest first.
  aio::Task<void> close(bool serving_commands);

  // Oldest first.
  const std::list<std::unique_ptr<UserObject>>& all() const { return objects_; }

 private:
  using Objects = std::list<std::unique_ptr<UserObject>>;
  Objects objects_;
  std::unordered_map<std::string_view, Objects::iterator> objects_by_id_;  // the keys are views of the objects' ids
  ReservedNames ids_being_made_;
  std::vector<UserObject*> staged_;
};

}  // namespace blockexport::control
