#include "control/authz_objects.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <array>

#include "control/authz_rules.h"
#include "control/control.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

// The value of a property of type T, as if it were given to object-add.
template <class T>
Result<T> decode_property(std::string_view name, const json::Value& value) {
  return schema::decode<T>(json::Value(json::Object{{std::string(name), value}}));
}

constexpr std::array<PropertyDescription, 1> kSimple{{{"identity", "string"}}};
constexpr std::array<PropertyDescription, 2> kList{{{"policy", "QAuthZListPolicy"}, {"rules", "QAuthZListRule"}}};
constexpr std::array<PropertyDescription, 1> kPam{{{"service", "string"}}};

}  // namespace

AuthzSimpleObject::AuthzSimpleObject(std::string id, std::string identity)
    : UserObject(std::move(id)), authorizer_(std::make_shared<authz::SimpleAuthorizer>(std::move(identity))) {}

Result<std::unique_ptr<UserObject>> AuthzSimpleObject::create(Control&, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kAuthzSimple>();
  return std::unique_ptr<UserObject>(new AuthzSimpleObject(options.id, properties.identity));
}

std::span<const PropertyDescription> AuthzSimpleObject::property_list() {
  return kSimple;
}

json::Value AuthzSimpleObject::get(std::string_view) const {
  return authorizer_->identity();
}

Result<> AuthzSimpleObject::set(std::string_view name, const json::Value& value) {
  TRY_ASSIGN(auto changed, decode_property<schema::AuthZSimpleProperties>(name, value));
  authorizer_->set_identity(std::move(changed.identity));
  return {};
}

AuthzListObject::AuthzListObject(std::string id, schema::AuthZListProperties properties)
    : UserObject(std::move(id)),
      properties_(std::move(properties)),
      authorizer_(std::make_shared<authz::ListAuthorizer>(to_rule_list(properties_))) {}

Result<std::unique_ptr<UserObject>> AuthzListObject::create(Control&, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kAuthzList>();
  return std::unique_ptr<UserObject>(new AuthzListObject(options.id, properties));
}

std::span<const PropertyDescription> AuthzListObject::property_list() {
  return kList;
}

json::Value AuthzListObject::get(std::string_view name) const {
  if (name == "policy") {
    return std::string(schema::name_of(properties_.policy.value_or(schema::QAuthZListPolicy::kDeny)));
  }
  json::Array rules;
  if (properties_.rules) {
    for (const schema::QAuthZListRule& rule : *properties_.rules) rules.push_back(schema::encode(rule));
  }
  return rules;
}

Result<> AuthzListObject::set(std::string_view name, const json::Value& value) {
  TRY_ASSIGN(auto changed, decode_property<schema::AuthZListProperties>(name, value));
  name == "policy" ? void(properties_.policy = changed.policy) : void(properties_.rules = std::move(changed.rules));
  authorizer_->set_list(to_rule_list(properties_));
  return {};
}

AuthzPamObject::AuthzPamObject(Control& control, std::string id, std::string service)
    : UserObject(std::move(id)),
      authorizer_(std::make_shared<authz::PamAuthorizer>(control.pam_calls(), std::move(service))) {}

Result<std::unique_ptr<UserObject>> AuthzPamObject::create(Control& control, const schema::ObjectOptions& options) {
  const auto& properties = options.as<schema::ObjectType::kAuthzPam>();
  TRY(control.pam_calls().load());
  if (geteuid() != 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1) {
    control.log().warning(
        fmt::format("authz-pam '{}': this process has no_new_privs, so that modules of PAM cannot start programs with "
                    "the rights that those need, as pam_unix does; have an authz-pam object on the command line",
                    options.id));
  }
  return std::unique_ptr<UserObject>(new AuthzPamObject(control, options.id, properties.service));
}

std::span<const PropertyDescription> AuthzPamObject::property_list() {
  return kPam;
}

json::Value AuthzPamObject::get(std::string_view) const {
  return authorizer_->service();
}

Result<> AuthzPamObject::set(std::string_view name, const json::Value& value) {
  TRY_ASSIGN(auto changed, decode_property<schema::AuthZPAMProperties>(name, value));
  authorizer_->set_service(std::move(changed.service));
  return {};
}

}  // namespace blockexport::control
