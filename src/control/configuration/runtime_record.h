// RuntimeRecord: the arguments of the QMP commands that have made what exists: objects, chardevs, servers and exports.
// Nodes have their options in the graph.
//
// Owned by a RuntimeKeeper; thread: the control reactor.
#pragma once

#include <string>
#include <string_view>

#include "json/value.h"
#include "schema/runtime.h"

namespace blockexport::control {

class Control;

// IDs of the parts of a runtime state.
inline const std::string& id_of(const schema::RuntimeChardev& one) {
  return one.id;
}
inline const std::string& id_of(const schema::ObjectOptions& one) {
  return one.id;
}
inline const std::string& id_of(const schema::BlockdevOptions& one) {
  return *one.node_name;
}
inline const std::string& id_of(const schema::NbdServersAddArguments& one) {
  return one.id;
}
inline const std::string& id_of(const schema::BlockExportOptions& one) {
  return one.id;
}

class RuntimeRecord {
 public:
  explicit RuntimeRecord(Control& control) : control_(control) {}

  // Notes a command that has succeeded; others than those which make things have no effect.
  void note(std::string_view command, const json::Value* arguments);
  // The same for a thing that was made again.
  void note(schema::ObjectOptions options);
  void note(schema::RuntimeChardev chardev);
  void note(schema::NbdServerOptionsLegacy default_server);
  void note(schema::NbdServersAddArguments server);
  void note(schema::BlockExportOptions options);

  // All things of this origin that exist now, with their present options; forgets the others.
  schema::RuntimeState present();

 private:
  void set_property(const json::Object& arguments);
  void add_deprecated(const json::Value& arguments);
  void forget_ended();
  void add_nodes(schema::RuntimeState& state) const;
  std::string node_of(const std::string& export_id) const;

  Control& control_;
  schema::RuntimeState noted_{.version = 1};  // without nodes
};

}  // namespace blockexport::control
