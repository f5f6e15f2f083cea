// Table of the types of objects: descriptions for qom-list-types and qom-list-properties, and constructors for
// object-add.
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

// The additional properties of socket chardevs.
inline constexpr std::array<schema::Property, 2> kSocketChardevProperties{
    {{"connected", "bool"}, {"addr", "SocketAddress"}}};

struct ObjectTypeEntry {
  std::string_view name;
  std::string_view parent;  // empty: none
  // All properties except "type", which every object has.
  std::span<const schema::Property> properties = {};
  // Makes an object with these properties, not completed; null for types that object-add does not make. Errors: an
  // invalid value of a property.
  Result<std::unique_ptr<UserObject>> (*create)(Control& control, const schema::ObjectOptions& options) = nullptr;
  // True if the type only serves as a parent.
  bool is_abstract = create == nullptr;

  bool is_user_creatable() const { return create != nullptr; }
  // True if it is `wanted` or derived from it; "user-creatable" is an interface.
  bool implements(std::string_view wanted) const;
};

// All types.
std::span<const ObjectTypeEntry> object_types();
// The entry of a type that object-add makes.
const ObjectTypeEntry& object_type(schema::ObjectType type);
// Null when there is no type of this name.
const ObjectTypeEntry* find_object_type(std::string_view name);

}  // namespace blockexport::control
