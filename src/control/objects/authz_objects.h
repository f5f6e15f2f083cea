// Authorization objects: the object types authz-simple, authz-list, authz-list-file and authz-pam, which are
// authorizers.
//
// Callers share ownership of its authorizer while they use it. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>

#include "aio/file/directory_watch.h"
#include "aio/sync/scope.h"
#include "authz/list_authorizers.h"
#include "authz/list_file.h"
#include "authz/pam_authorizer.h"
#include "control/objects/object_properties.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class AuthzSimpleObject final : public ObjectOf<schema::AuthZSimpleProperties> {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "authz-simple"; }
  std::shared_ptr<authz::Authorizer> authorizer() override { return authorizer_; }

 private:
  AuthzSimpleObject(std::string id, schema::AuthZSimpleProperties properties);
  Result<> change(std::string_view name, schema::AuthZSimpleProperties changed) override;

  std::shared_ptr<authz::SimpleAuthorizer> authorizer_;
};

class AuthzListObject final : public ObjectOf<schema::AuthZListProperties> {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "authz-list"; }
  std::shared_ptr<authz::Authorizer> authorizer() override { return authorizer_; }

 private:
  AuthzListObject(std::string id, schema::AuthZListProperties properties);
  Result<> change(std::string_view name, schema::AuthZListProperties changed) override;

  std::shared_ptr<authz::ListAuthorizer> authorizer_;
};

class AuthzListFileObject final : public ObjectOf<schema::AuthZListFileProperties> {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "authz-list-file"; }
  // The file name of an object never changes; another file needs another object.
  bool is_writable(std::string_view) const override { return false; }
  // Reads the file, and follows its changes if `refresh` is set.
  aio::Task<Result<>> complete() override;
  aio::Task<void> close() override;
  std::shared_ptr<authz::Authorizer> authorizer() override { return file_; }

 private:
  AuthzListFileObject(Control& control, std::string id, schema::AuthZListFileProperties properties);
  // Follows the file until cancelled, even while its directory is missing for a time.
  aio::Task<void> follow(std::string directory, std::unique_ptr<aio::DirectoryWatch> watch);

  aio::Reactor& reactor_;
  std::shared_ptr<authz::ListFile> file_;
  aio::Scope scope_;
};

class AuthzPamObject final : public ObjectOf<schema::AuthZPAMProperties> {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);

  std::string_view type_name() const override { return "authz-pam"; }
  std::shared_ptr<authz::Authorizer> authorizer() override { return authorizer_; }

 private:
  AuthzPamObject(Control& control, std::string id, schema::AuthZPAMProperties properties);
  Result<> change(std::string_view name, schema::AuthZPAMProperties changed) override;

  std::shared_ptr<authz::PamAuthorizer> authorizer_;
};

}  // namespace blockexport::control
