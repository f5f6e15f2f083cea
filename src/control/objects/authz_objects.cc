#include "control/objects/authz_objects.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "control/core/control.h"
#include "control/objects/authz_rules.h"

namespace blockexport::control {
namespace {

schema::AuthZListProperties with_defaults(schema::AuthZListProperties properties) {
  if (!properties.policy) properties.policy = schema::QAuthZListPolicy::kDeny;
  if (!properties.rules) properties.rules.emplace();
  return properties;
}

}  // namespace

AuthzSimpleObject::AuthzSimpleObject(std::string id, schema::AuthZSimpleProperties properties)
    : ObjectOf(std::move(id), std::move(properties)),
      authorizer_(std::make_shared<authz::SimpleAuthorizer>(shown().identity)) {}

Result<std::unique_ptr<UserObject>> AuthzSimpleObject::create(Control&, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kAuthzSimple>();
  return std::unique_ptr<UserObject>(new AuthzSimpleObject(options.id, properties));
}

Result<> AuthzSimpleObject::change(std::string_view name, schema::AuthZSimpleProperties changed) {
  authorizer_->set_identity(changed.identity);
  return ObjectOf::change(name, std::move(changed));
}

AuthzListObject::AuthzListObject(std::string id, schema::AuthZListProperties properties)
    : ObjectOf(std::move(id), with_defaults(std::move(properties))),
      authorizer_(std::make_shared<authz::ListAuthorizer>(to_rule_list(shown()))) {}

Result<std::unique_ptr<UserObject>> AuthzListObject::create(Control&, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kAuthzList>();
  return std::unique_ptr<UserObject>(new AuthzListObject(options.id, properties));
}

Result<> AuthzListObject::change(std::string_view name, schema::AuthZListProperties changed) {
  authorizer_->set_list(to_rule_list(changed));
  return ObjectOf::change(name, std::move(changed));
}

AuthzPamObject::AuthzPamObject(Control& control, std::string id, schema::AuthZPAMProperties properties)
    : ObjectOf(std::move(id), std::move(properties)),
      authorizer_(std::make_shared<authz::PamAuthorizer>(control.pam_calls(), shown().service)) {}

Result<std::unique_ptr<UserObject>> AuthzPamObject::create(Control& control, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kAuthzPam>();
  if (!control.denial_note().empty()) {
    return fail(
        "PAM modules start programs and open files of their own, so an authz-pam object cannot work in the "
        "sandbox of this daemon: it needs '--sandbox off', and a restart");
  }
  TRY(control.pam_calls().load());
  if (geteuid() != 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
    control.log().warning(
        fmt::format("authz-pam '{}': this process has no_new_privs set, so PAM modules such as pam_unix cannot start "
                    "programs with more privileges; put an authz-pam object on the command line",
                    options.id));
  }
  return std::unique_ptr<UserObject>(new AuthzPamObject(control, options.id, properties));
}

Result<> AuthzPamObject::change(std::string_view name, schema::AuthZPAMProperties changed) {
  authorizer_->set_service(changed.service);
  return ObjectOf::change(name, std::move(changed));
}

}  // namespace blockexport::control
