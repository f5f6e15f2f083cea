// The types of objects: what qom-list-types and qom-list-properties tell of each, and how object-add makes one.
//
// One entry for each type, in object_types.cc: a new type is a class derived from UserObject, an entry there and a
// branch in schema/qom.json. Constant; thread: the control reactor.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <string_view>

#include "control/core/object_store.h"
#include "schema/qom.h"

namespace blockexport::control {

class Control;

// The properties that chardevs have besides if they are sockets.
inline constexpr std::array<schema::Property, 2> kSocketChardevProperties{
    {{"connected", "bool"}, {"addr", "SocketAddress"}}};

struct ObjectTypeEntry {
  std::string_view name;
  std::string_view parent;  // empty: none
  // All but "type", which every object has.
  std::span<const schema::Property> properties = {};
  // An object with these properties, not yet completed; null for types that object-add does not make. Errors: a
  // property's value that cannot be.
  Result<std::unique_ptr<UserObject>> (*create)(Control& control, const schema::ObjectOptions& options) = nullptr;
  // Only there to be a parent.
  bool is_abstract = create == nullptr;

  bool is_user_creatable() const { return create != nullptr; }
  // Whether it is `wanted` or a kind of it; "user-creatable" is an interface.
  bool implements(std::string_view wanted) const;
};

// All of them.
std::span<const ObjectTypeEntry> object_types();
// The one that object-add makes.
const ObjectTypeEntry& object_type(schema::ObjectType type);
// Null when there is none of this name.
const ObjectTypeEntry* find_object_type(std::string_view name);

}  // namespace blockexport::control
