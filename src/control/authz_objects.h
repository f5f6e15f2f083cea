// The object types authz-simple, authz-list, authz-list-file and authz-pam: authorizers that users make with
// object-add.
//
// Each shares its authorizer with whoever asks it just now. Thread: the control reactor.
#pragma once

#include <memory>
#include <string>

#include "aio/directory_watch.h"
#include "aio/scope.h"
#include "authz/list_authorizers.h"
#include "authz/list_file.h"
#include "authz/pam_authorizer.h"
#include "control/object_store.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

class AuthzSimpleObject final : public UserObject {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);
  static std::span<const PropertyDescription> property_list();

  std::string_view type_name() const override { return "authz-simple"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  json::Value get(std::string_view name) const override;
  Result<> set(std::string_view name, const json::Value& value) override;
  std::shared_ptr<authz::Authorizer> authorizer() override { return authorizer_; }

 private:
  AuthzSimpleObject(std::string id, std::string identity);

  std::shared_ptr<authz::SimpleAuthorizer> authorizer_;
};

class AuthzListObject final : public UserObject {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);
  static std::span<const PropertyDescription> property_list();

  std::string_view type_name() const override { return "authz-list"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  json::Value get(std::string_view name) const override;
  Result<> set(std::string_view name, const json::Value& value) override;
  std::shared_ptr<authz::Authorizer> authorizer() override { return authorizer_; }

 private:
  AuthzListObject(std::string id, schema::AuthZListProperties properties);

  schema::AuthZListProperties properties_;
  std::shared_ptr<authz::ListAuthorizer> authorizer_;
};

class AuthzListFileObject final : public UserObject {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);
  static std::span<const PropertyDescription> property_list();

  std::string_view type_name() const override { return "authz-list-file"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  json::Value get(std::string_view name) const override;
  // Errors: always. The file of an object stays the same one; another file is another object.
  Result<> set(std::string_view name, const json::Value& value) override;
  // Reads the file, and follows it from then on if that is wanted.
  aio::Task<Result<>> complete() override;
  aio::Task<void> close() override;
  std::shared_ptr<authz::Authorizer> authorizer() override { return file_; }

 private:
  AuthzListFileObject(Control& control, std::string id, const schema::AuthZListFileProperties& properties);
  // Follows the file until it is cancelled, also when its directory goes and comes back.
  aio::Task<void> follow(std::string directory, std::unique_ptr<aio::DirectoryWatch> watch);

  aio::Reactor& reactor_;
  bool refresh_;
  std::shared_ptr<authz::ListFile> file_;
  aio::Scope scope_;
};

class AuthzPamObject final : public UserObject {
 public:
  static Result<std::unique_ptr<UserObject>> create(Control& control, const schema::ObjectOptions& options);
  static std::span<const PropertyDescription> property_list();

  std::string_view type_name() const override { return "authz-pam"; }
  std::span<const PropertyDescription> properties() const override { return property_list(); }
  json::Value get(std::string_view name) const override;
  Result<> set(std::string_view name, const json::Value& value) override;
  std::shared_ptr<authz::Authorizer> authorizer() override { return authorizer_; }

 private:
  AuthzPamObject(Control& control, std::string id, std::string service);

  std::shared_ptr<authz::PamAuthorizer> authorizer_;
};

}  // namespace blockexport::control
