// StagedObjects: the objects of a reload: those that are made, put in the place of others, or changed.
//
// prepare() makes and completes all new objects (reads files, starts threads); until commit() only openings find them.
// Without commit(), call abort(), which closes them. Owned by a Reload; thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/reserved_names.h"
#include "configuration/difference.h"
#include "control/core/object_store.h"
#include "net/tls_credentials.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class StagedObjects final : public net::TlsDirectory {
 public:
  explicit StagedObjects(Control& control) : control_(control) {}

  // Prepares the object of one difference, which adds, replaces or changes it. Errors: those of object-add, or a
  // property that cannot change while the object exists.
  aio::Task<Result<>> prepare(const configuration::Difference& difference, const schema::ObjectOptions& options);
  // Makes them visible, and returns those that they replace, to be closed.
  std::vector<std::unique_ptr<UserObject>> commit();
  aio::Task<void> abort();

  // TlsDirectory: the credentials as they will be.
  Result<net::TlsCredentialsReference> find(std::string_view id, net::TlsEndpoint endpoint) override;

 private:
  struct Staged {
    std::unique_ptr<UserObject> object;
    schema::ConfigurationAction action;
  };

  Result<> check_change(const UserObject& wanted) const;
  void change(const UserObject& wanted);
  void stage_all();

  Control& control_;
  std::vector<Staged> staged_;
  std::vector<ReservedNames::Reservation> reservations_;
};

// The objects of a configuration, each behind the secrets that it uses.
std::vector<const schema::ObjectOptions*> in_making_order(const std::vector<schema::ObjectOptions>& objects);

}  // namespace blockexport::control
