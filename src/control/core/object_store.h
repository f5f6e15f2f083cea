// ObjectStore: the objects that users make with object-add, by id, with the properties that qom-get and qom-set show.
// Owned by Control; thread: the control reactor.
#pragma once

#include <list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "aio/task.h"
#include "authz/authorizer.h"
#include "base/error.h"
#include "base/reserved_names.h"
#include "base/secret_bytes.h"
#include "json/value.h"
#include "net/tls_credentials.h"
#include "schema/property.h"

namespace blockexport::control {

// The bytes of a secret, for as long as somebody needs them.
using SecretReference = std::shared_ptr<const SecretBytes>;

class UserObject {
 public:
  explicit UserObject(std::string id) : id_(std::move(id)) {}
  virtual ~UserObject() = default;

  const std::string& id() const { return id_; }
  // "iothread", ...
  virtual std::string_view type_name() const = 0;
  // All but "type", which every object has.
  virtual std::span<const schema::Property> properties() const = 0;
  // Whether qom-set may change it. `name` is one of properties(), here and below.
  virtual bool is_writable(std::string_view /*name*/) const { return true; }
  // Of one that is no secret.
  virtual json::Value get(std::string_view name) const = 0;
  virtual Result<> set(std::string_view name, const json::Value& value) = 0;

  // What takes time once all properties are set: files are read here. Errors: the object cannot be, and is closed.
  virtual aio::Task<Result<>> complete() { co_return Result<>(); }
  // Ends what runs for it. Before it is destroyed, when complete() was called.
  virtual aio::Task<void> close() { co_return; }

  // Whether commands come over it: it is then closed after all others when the daemon ends.
  virtual bool serves_commands() const { return false; }
  // The daemon begins to serve: every option of the command line was carried out. Not for what is made later.
  virtual void begin_service() {}

  // What decides who may come in; null for objects that are not of that kind.
  virtual std::shared_ptr<authz::Authorizer> authorizer() { return nullptr; }
  // What it keeps; null for objects that are no secrets.
  virtual SecretReference secret() { return nullptr; }
  // The TLS credentials that it holds now; null for objects that hold none.
  virtual net::TlsCredentialsReference tls_credentials() { return nullptr; }

  // How many others use it; one that is used is not removed.
  int users = 0;

 private:
  std::string id_;
};

class ObjectStore {
 public:
  // Null when there is none.
  UserObject* find(std::string_view id) const;
  // Errors: a malformed id.
  static Result<> check_id(std::string_view id);
  // The id of an object that is being made, until it is added. Errors: an id of another object, made or being made.
  Result<ReservedNames::Reservation> reserve(std::string_view id);
  // One with a reserved, well-formed id, completed.
  void add(std::unique_ptr<UserObject> object);
  // Gives it back, to be closed. Errors: "object 'X' not found", "object 'X' is in use, can not be deleted".
  Result<std::unique_ptr<UserObject>> remove(std::string_view id);
  // Closes and destroys those that commands come over, or all others; the last one made first.
  aio::Task<void> close(bool serving_commands);

  // Oldest first.
  const std::list<std::unique_ptr<UserObject>>& all() const { return objects_; }

 private:
  using Objects = std::list<std::unique_ptr<UserObject>>;
  Objects objects_;
  std::unordered_map<std::string_view, Objects::iterator> objects_by_id_;  // the ids are the objects'
  ReservedNames ids_being_made_;
};

}  // namespace blockexport::control
