#include "control/configuration/staged_objects.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "control/core/control.h"
#include "control/objects/object_types.h"
#include "schema/codec.h"

namespace blockexport::control {
namespace {

// Flat forms of the properties of a throttle group, which "limits" includes.
bool is_flat_form(std::string_view name) {
  return name.starts_with("x-");
}

std::vector<std::string> secrets_of(const schema::ObjectOptions& options) {
  std::vector<std::string> ids;
  const json::Value encoded = schema::encode(options);
  for (const char* member : {"passwordid", "keyid"}) {
    const json::Value* value = encoded.as_object()->find(member);
    if (value != nullptr && value->as_string() != nullptr) ids.push_back(*value->as_string());
  }
  return ids;
}

}  // namespace

std::vector<const schema::ObjectOptions*> in_making_order(const std::vector<schema::ObjectOptions>& objects) {
  std::vector<const schema::ObjectOptions*> ordered;
  std::set<std::string_view> waiting;
  for (const schema::ObjectOptions& one : objects) waiting.insert(one.id);
  // Each turn takes those whose secrets are there. Secrets that need each other in a circle come last, and fail.
  for (bool has_more = true; std::exchange(has_more, false);) {
    for (const schema::ObjectOptions& one : objects) {
      if (!waiting.contains(one.id)) continue;
      const std::vector<std::string> secrets = secrets_of(one);
      if (std::ranges::any_of(secrets, [&](const std::string& id) { return waiting.contains(id); })) continue;
      waiting.erase(one.id);
      ordered.push_back(&one);
      has_more = true;
    }
  }
  for (const schema::ObjectOptions& one : objects) {
    if (waiting.contains(one.id)) ordered.push_back(&one);
  }
  return ordered;
}

aio::Task<Result<>> StagedObjects::prepare(const configuration::Difference& difference,
                                           const schema::ObjectOptions& options) {
  CO_TRY(ObjectStore::check_id(options.id));
  CO_TRY_ASSIGN(std::unique_ptr<UserObject> object, object_type(options.qom_type()).create(control_, options));
  if (difference.action == schema::ConfigurationAction::kChange) {
    CO_TRY(check_change(*object));
    staged_.push_back({std::move(object), difference.action});
    co_return Result<>();
  }
  if (difference.action == schema::ConfigurationAction::kAdd) {
    CO_TRY_ASSIGN(auto reservation, control_.objects().reserve(options.id));
    reservations_.push_back(std::move(reservation));
  } else {
    UserObject* before = control_.objects().find(options.id);
    if (before == nullptr) co_return fail(fmt::format("object '{}' not found", options.id));
    CO_TRY(before->check_removable());
  }
  Result<> completed = co_await object->complete();
  if (completed && control_.is_shutting_down()) completed = fail("The daemon is shutting down");
  if (!completed) {
    co_await object->close();
    co_return completed;
  }
  staged_.push_back({std::move(object), difference.action});
  stage_all();
  co_return Result<>();
}

void StagedObjects::stage_all() {
  std::vector<UserObject*> visible;
  for (const Staged& one : staged_) {
    if (one.action != schema::ConfigurationAction::kChange) visible.push_back(one.object.get());
  }
  control_.objects().stage(std::move(visible));
}

// Compares with an object of the wanted properties, which is not completed.
Result<> StagedObjects::check_change(const UserObject& wanted) const {
  const UserObject* present = control_.objects().find(wanted.id());
  if (present == nullptr) return fail(fmt::format("object '{}' not found", wanted.id()));
  for (const schema::Property& property : wanted.properties()) {
    if (is_flat_form(property.name) || present->is_writable(property.name)) continue;
    if (present->get(property.name) == wanted.get(property.name)) continue;
    return fail(
        fmt::format("Property '{}' of object '{}' cannot change while the object exists", property.name, wanted.id()));
  }
  return {};
}

void StagedObjects::change(const UserObject& wanted) {
  UserObject* present = control_.objects().find(wanted.id());
  if (present == nullptr) return;
  for (const schema::Property& property : wanted.properties()) {
    if (is_flat_form(property.name) || !present->is_writable(property.name)) continue;
    const json::Value value = wanted.get(property.name);
    if (present->get(property.name) == value) continue;
    // The value was valid for an object of this type.
    if (Result<> set = present->set(property.name, value); !set) control_.log().warning(set.error().message());
  }
}

std::vector<std::unique_ptr<UserObject>> StagedObjects::commit() {
  control_.objects().stage({});
  reservations_.clear();
  std::vector<std::unique_ptr<UserObject>> replaced;
  for (Staged& one : std::exchange(staged_, {})) {
    one.object->origin = Origin::kFile;
    if (one.action == schema::ConfigurationAction::kChange) {
      change(*one.object);
    } else if (control_.objects().find(one.object->id()) != nullptr) {
      replaced.push_back(control_.objects().replace(std::move(one.object)));
    } else {
      control_.objects().add(std::move(one.object));
    }
  }
  return replaced;
}

aio::Task<void> StagedObjects::abort() {
  control_.objects().stage({});
  while (!staged_.empty()) {
    Staged last = std::move(staged_.back());
    staged_.pop_back();
    if (last.action != schema::ConfigurationAction::kChange) co_await last.object->close();
  }
  reservations_.clear();
}

Result<net::TlsCredentialsReference> StagedObjects::find(std::string_view id, net::TlsEndpoint endpoint) {
  for (const Staged& one : staged_) {
    if (one.object->id() != id) continue;
    net::TlsCredentialsReference credentials = one.object->tls_credentials();
    if (credentials != nullptr && credentials->endpoint() == endpoint) return credentials;
    return fail(fmt::format("Object '{}' is no TLS credentials for a {}", id,
                            endpoint == net::TlsEndpoint::kServer ? "server" : "client"));
  }
  return control_.tls_credentials().find(id, endpoint);
}

}  // namespace blockexport::control
