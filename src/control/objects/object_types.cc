#include "control/objects/object_types.h"

#include <algorithm>

#include "control/objects/authz_objects.h"
#include "control/objects/iothread_object.h"
#include "control/objects/monitor_object.h"
#include "control/objects/secret_object.h"
#include "control/objects/throttle_group_object.h"
#include "control/objects/tls_object.h"

namespace blockexport::control {
namespace {

template <class Values>
constexpr std::span<const schema::Property> kProperties = schema::Properties<Values>::kAll;

constexpr ObjectTypeEntry kTypes[] = {
    {"object", ""},
    {"authz", "object"},
    {"authz-list", "authz", kProperties<schema::AuthZListProperties>, AuthzListObject::create},
    {"authz-list-file", "authz", kProperties<schema::AuthZListFileProperties>, AuthzListFileObject::create},
    {"authz-pam", "authz", kProperties<schema::AuthZPAMProperties>, AuthzPamObject::create},
    {"authz-simple", "authz", kProperties<schema::AuthZSimpleProperties>, AuthzSimpleObject::create},
    {"chardev", "object"},
    {"chardev-fd", "chardev"},
    {"chardev-file", "chardev-fd", {}, nullptr, false},
    {"chardev-null", "chardev", {}, nullptr, false},
    {"chardev-socket", "chardev", kSocketChardevProperties, nullptr, false},
    {"chardev-stdio", "chardev-fd", {}, nullptr, false},
    {"container", "object", {}, nullptr, false},
    {"event-loop-base", "object", kProperties<schema::EventLoopBaseProperties>},
    {"iothread", "event-loop-base", kProperties<schema::IothreadProperties>, IothreadObject::create},
    {"monitor", "object", kProperties<schema::MonitorQMPProperties>.first(1)},
    {"monitor-qmp", "monitor", kProperties<schema::MonitorQMPProperties>, MonitorObject::create},
    {"secret_common", "object", kProperties<schema::SecretCommonProperties>},
    {"secret", "secret_common", kProperties<schema::SecretProperties>, SecretObject::create},
    {"throttle-group", "object", kProperties<schema::ThrottleGroupProperties>, ThrottleGroupObject::create},
    {"tls-creds", "object", kProperties<schema::TlsCredsProperties>},
    {"tls-creds-anon", "tls-creds", kProperties<schema::TlsCredsAnonProperties>, TlsObject::create_anonymous},
    {"tls-creds-psk", "tls-creds", kProperties<schema::TlsCredsPskProperties>, TlsObject::create_shared_key},
    {"tls-creds-x509", "tls-creds", kProperties<schema::TlsCredsX509Properties>, TlsObject::create_certificate},
};

constexpr const ObjectTypeEntry* find(std::string_view name) {
  const auto* found = std::ranges::find(kTypes, name, &ObjectTypeEntry::name);
  return found != std::end(kTypes) ? found : nullptr;
}

constexpr const ObjectTypeEntry& entry_of(schema::ObjectType type) {
  // The schema has two names for one type.
  if (type == schema::ObjectType::kAuthzListfile) type = schema::ObjectType::kAuthzListFile;
  return *find(schema::name_of(type));
}

// The table has every type that the schema lets users make.
static_assert(std::ranges::all_of(schema::EnumNames<schema::ObjectType>::kNames, [](std::string_view name) {
  return entry_of(*schema::value_of<schema::ObjectType>(name)).create != nullptr;
}));

}  // namespace

bool ObjectTypeEntry::implements(std::string_view wanted) const {
  if (wanted == "user-creatable") return is_user_creatable();
  for (const ObjectTypeEntry* one = this; one != nullptr; one = find(one->parent)) {
    if (one->name == wanted) return true;
  }
  return false;
}

std::span<const ObjectTypeEntry> object_types() {
  return kTypes;
}

const ObjectTypeEntry& object_type(schema::ObjectType type) {
  return entry_of(type);
}

const ObjectTypeEntry* find_object_type(std::string_view name) {
  return find(name);
}

}  // namespace blockexport::control
