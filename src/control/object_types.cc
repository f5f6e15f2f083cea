#include "control/object_types.h"

#include <algorithm>

#include "control/authz_objects.h"
#include "control/iothread_object.h"
#include "control/monitor_object.h"
#include "control/qom_tree.h"
#include "control/secret_object.h"
#include "control/tls_object.h"

namespace blockexport::control {
namespace {

constexpr ObjectTypeEntry kTypes[] = {
    {"object", ""},
    {"authz", "object"},
    {"authz-list", "authz", AuthzListObject::property_list, AuthzListObject::create},
    {"authz-list-file", "authz", AuthzListFileObject::property_list, AuthzListFileObject::create},
    {"authz-pam", "authz", AuthzPamObject::property_list, AuthzPamObject::create},
    {"authz-simple", "authz", AuthzSimpleObject::property_list, AuthzSimpleObject::create},
    {"chardev", "object"},
    {"chardev-fd", "chardev"},
    {"chardev-file", "chardev-fd", nullptr, nullptr, false},
    {"chardev-null", "chardev", nullptr, nullptr, false},
    {"chardev-socket", "chardev", socket_chardev_properties, nullptr, false},
    {"chardev-stdio", "chardev-fd", nullptr, nullptr, false},
    {"container", "object", nullptr, nullptr, false},
    {"event-loop-base", "object", IothreadObject::event_loop_properties},
    {"iothread", "event-loop-base", IothreadObject::property_list, IothreadObject::create},
    {"monitor", "object", MonitorObject::common_properties},
    {"monitor-qmp", "monitor", MonitorObject::property_list, MonitorObject::create},
    {"secret_common", "object", SecretObject::common_properties},
    {"secret", "secret_common", SecretObject::property_list, SecretObject::create},
    {"tls-creds", "object", TlsObject::common_properties},
    {"tls-creds-anon", "tls-creds", TlsObject::anonymous_properties, TlsObject::create_anonymous},
    {"tls-creds-psk", "tls-creds", TlsObject::shared_key_properties, TlsObject::create_shared_key},
    {"tls-creds-x509", "tls-creds", TlsObject::certificate_properties, TlsObject::create_certificate},
};

constexpr const ObjectTypeEntry* find(std::string_view name) {
  const auto* found = std::ranges::find(kTypes, name, &ObjectTypeEntry::name);
  return found != std::end(kTypes) ? found : nullptr;
}

constexpr const ObjectTypeEntry& entry_of(schema::ObjectType type) {
  // One type has two names in the schema.
  if (type == schema::ObjectType::kAuthzListfile) type = schema::ObjectType::kAuthzListFile;
  return *find(schema::name_of(type));
}

// What the schema lets users make can be made.
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
