// Commands object-add and object-del, and the qom- commands.

#include <fmt/format.h>

#include "control/commands/qom_tree.h"
#include "control/core/control.h"
#include "control/objects/object_types.h"
#include "schema/qom_commands.h"

namespace blockexport::control {
namespace {

Error no_property(const QomTree::Entry& entry, std::string_view name) {
  return Error(fmt::format("Property '{}.{}' not found", entry.type, name));
}

}  // namespace

aio::Task<Result<>> object_add(Control& control, schema::ObjectOptions arguments) {
  CO_TRY(ObjectStore::check_id(arguments.id));
  const ObjectTypeEntry& type = object_type(arguments.qom_type());
  CO_TRY_ASSIGN(std::unique_ptr<UserObject> object, type.create(control, arguments));
  CO_TRY_ASSIGN(auto reservation, control.objects().reserve(arguments.id));
  Result<> completed = co_await object->complete();
  if (completed && control.is_shutting_down()) completed = fail("The daemon is shutting down");
  if (!completed) {
    co_await object->close();
    co_return fail(std::move(completed).error());
  }
  control.objects().add(std::move(object));
  co_return Result<>();
}

aio::Task<Result<>> object_del(Control& control, schema::ObjectDelArguments arguments) {
  if (arguments.id == control.commanding_monitor()) co_return fail("Cannot delete the current QMP monitor");
  auto visits = co_await control.iothread_visits().lock();
  if (!visits) co_return fail("The command was cancelled");
  CO_TRY_ASSIGN(std::unique_ptr<UserObject> object, control.objects().remove(arguments.id));
  co_await object->close();
  co_return Result<>();
}

aio::Task<Result<std::vector<schema::ObjectPropertyInfo>>> qom_list(Control& control,
                                                                    schema::QomListArguments arguments) {
  QomTree tree(control.objects(), control.chardevs());
  CO_TRY_ASSIGN(QomTree::Entry entry, tree.find(arguments.path));
  std::vector<schema::ObjectPropertyInfo> listed;
  for (schema::ObjectPropertyValue& property : tree.properties(entry)) {
    listed.push_back({.name = std::move(property.name), .type = std::move(property.type)});
  }
  co_return listed;
}

aio::Task<Result<std::vector<schema::ObjectPropertiesValues>>> qom_list_get(Control& control,
                                                                            schema::QomListGetArguments arguments) {
  QomTree tree(control.objects(), control.chardevs());
  std::vector<schema::ObjectPropertiesValues> listed;
  for (const std::string& path : arguments.paths) {
    CO_TRY_ASSIGN(QomTree::Entry entry, tree.find(path));
    listed.push_back({.properties = tree.properties(entry)});
  }
  co_return listed;
}

aio::Task<Result<json::Value>> qom_get(Control& control, schema::QomGetArguments arguments) {
  QomTree tree(control.objects(), control.chardevs());
  CO_TRY_ASSIGN(QomTree::Entry entry, tree.find(arguments.path));
  for (schema::ObjectPropertyValue& property : tree.properties(entry)) {
    if (property.name != arguments.property) continue;
    if (property.value) co_return std::move(*property.value);
    co_return fail(fmt::format("Property '{}.{}' is not readable", entry.type, arguments.property));
  }
  co_return fail(no_property(entry, arguments.property));
}

aio::Task<Result<>> qom_set(Control& control, schema::QomSetArguments arguments) {
  QomTree tree(control.objects(), control.chardevs());
  CO_TRY_ASSIGN(QomTree::Entry entry, tree.find(arguments.path));
  bool is_there = false;
  for (const schema::ObjectPropertyValue& property : tree.properties(entry)) {
    is_there = is_there || property.name == arguments.property;
  }
  if (!is_there) co_return fail(no_property(entry, arguments.property));
  // The type and the container of an object cannot change.
  const bool is_own = entry.object != nullptr && arguments.property != "type";
  if (!is_own || !entry.object->is_writable(arguments.property)) {
    co_return fail(fmt::format("Property '{}.{}' is not writable", entry.type, arguments.property));
  }
  co_return entry.object->set(arguments.property, arguments.value);
}

aio::Task<Result<std::vector<schema::ObjectTypeInfo>>> qom_list_types(Control&,
                                                                      schema::QomListTypesArguments arguments) {
  std::vector<schema::ObjectTypeInfo> listed;
  for (const ObjectTypeEntry& type : object_types()) {
    if (type.is_abstract && !arguments.abstract.value_or(false)) continue;
    if (arguments.implements && !type.implements(*arguments.implements)) continue;
    schema::ObjectTypeInfo info{.name = std::string(type.name)};
    if (type.is_abstract) info.abstract = true;
    if (!type.parent.empty()) info.parent = std::string(type.parent);
    listed.push_back(std::move(info));
  }
  co_return listed;
}

aio::Task<Result<std::vector<schema::ObjectPropertyInfo>>> qom_list_properties(
    Control&, schema::QomListPropertiesArguments arguments) {
  if (arguments.typename_ == "user-creatable") co_return fail("Parameter 'typename' expects a QOM type");
  const ObjectTypeEntry* type = find_object_type(arguments.typename_);
  if (type == nullptr) {
    co_return fail(Error(ErrorKind::kDeviceNotFound, fmt::format("Class '{}' not found", arguments.typename_)));
  }
  std::vector<schema::ObjectPropertyInfo> listed{{.name = "type", .type = "string"}};
  for (const schema::Property& property : type->properties) {
    listed.push_back({.name = std::string(property.name), .type = std::string(property.type)});
  }
  co_return listed;
}

}  // namespace blockexport::control
