// object-add, object-del and the qom- commands.

#include <fmt/format.h>

#include <array>

#include "control/control.h"
#include "control/iothread_object.h"
#include "control/qom_tree.h"
#include "schema/qom_commands.h"

namespace blockexport::control {
namespace {

struct TypeDescription {
  std::string_view name;
  std::string_view parent;
  bool abstract;
  bool user_creatable;
};
constexpr std::array<TypeDescription, 3> kTypes{{{"iothread", "event-loop-base", false, true},
                                                 {"event-loop-base", "object", true, true},
                                                 {"object", "", true, false}}};

const TypeDescription* find_type(std::string_view name) {
  for (const TypeDescription& type : kTypes) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

// Whether `type` is `wanted` or a kind of it; "user-creatable" is an interface.
bool implements(const TypeDescription& type, std::string_view wanted) {
  if (wanted == "user-creatable") return type.user_creatable;
  for (const TypeDescription* one = &type; one != nullptr; one = find_type(one->parent)) {
    if (one->name == wanted) return true;
  }
  return false;
}

bool has_property(const QomTree::Place& place, std::string_view name) {
  if (place.object == nullptr) return false;
  for (const PropertyDescription& property : place.object->properties()) {
    if (property.name == name) return true;
  }
  return false;
}

Error no_property(const QomTree::Place& place, std::string_view name) {
  return Error(fmt::format("Property '{}.{}' not found", place.type, name));
}

}  // namespace

aio::Task<Result<>> object_add(Control& control, schema::ObjectOptions arguments) {
  Result<std::unique_ptr<UserObject>> made = nullptr;
  switch (arguments.qom_type()) {
    case schema::ObjectType::kIothread:
      made = IothreadObject::create(arguments.id, arguments.as<schema::ObjectType::kIothread>());
      break;
  }
  if (!made) co_return fail(std::move(made).error());
  co_return control.objects().add(std::move(*made));
}

aio::Task<Result<>> object_del(Control& control, schema::ObjectDelArguments arguments) {
  co_return control.objects().remove(arguments.id);
}

aio::Task<Result<std::vector<schema::ObjectPropertyInfo>>> qom_list(Control& control,
                                                                    schema::QomListArguments arguments) {
  QomTree tree(control.objects(), control.chardevs());
  CO_TRY_ASSIGN(QomTree::Place place, tree.find(arguments.path));
  co_return tree.list(place);
}

aio::Task<Result<json::Value>> qom_get(Control& control, schema::QomGetArguments arguments) {
  CO_TRY_ASSIGN(QomTree::Place place, QomTree(control.objects(), control.chardevs()).find(arguments.path));
  if (arguments.property == "type") co_return json::Value(place.type);
  if (!has_property(place, arguments.property)) co_return fail(no_property(place, arguments.property));
  co_return place.object->get(arguments.property);
}

aio::Task<Result<>> qom_set(Control& control, schema::QomSetArguments arguments) {
  CO_TRY_ASSIGN(QomTree::Place place, QomTree(control.objects(), control.chardevs()).find(arguments.path));
  if (arguments.property == "type") co_return fail(fmt::format("Property '{}.type' is not writable", place.type));
  if (!has_property(place, arguments.property)) co_return fail(no_property(place, arguments.property));
  co_return place.object->set(arguments.property, arguments.value);
}

aio::Task<Result<std::vector<schema::ObjectTypeInfo>>> qom_list_types(Control&,
                                                                      schema::QomListTypesArguments arguments) {
  std::vector<schema::ObjectTypeInfo> listed;
  for (const TypeDescription& type : kTypes) {
    if (type.abstract && !arguments.abstract.value_or(false)) continue;
    if (arguments.implements && !implements(type, *arguments.implements)) continue;
    schema::ObjectTypeInfo info{.name = std::string(type.name)};
    if (type.abstract) info.abstract = true;
    if (!type.parent.empty()) info.parent = std::string(type.parent);
    listed.push_back(std::move(info));
  }
  co_return listed;
}

aio::Task<Result<std::vector<schema::ObjectPropertyInfo>>> qom_list_properties(
    Control&, schema::QomListPropertiesArguments arguments) {
  const TypeDescription* type = find_type(arguments.typename_);
  if (type == nullptr) {
    co_return fail(Error(ErrorKind::kDeviceNotFound, fmt::format("Class '{}' not found", arguments.typename_)));
  }
  std::vector<schema::ObjectPropertyInfo> listed{{.name = "type", .type = "string"}};
  if (type->name == "iothread") {
    for (const PropertyDescription& property : IothreadObject::property_list()) {
      listed.push_back({.name = std::string(property.name), .type = std::string(property.type)});
    }
  }
  co_return listed;
}

}  // namespace blockexport::control
