// QomTree: the paths of qom-list, qom-get and qom-set: "/objects/ID", "/chardevs/ID", and each suffix of such a path
// that matches only one. A view for one command; thread: the control reactor.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "chardev/registry.h"
#include "control/core/object_store.h"
#include "schema/qom.h"

namespace blockexport::control {

class QomTree {
 public:
  QomTree(const ObjectStore& objects, const chardev::Registry& chardevs) : objects_(objects), chardevs_(chardevs) {}

  // The target of a path.
  struct Entry {
    std::string path;
    std::string type;                           // "container", "iothread", "chardev-socket"
    UserObject* object = nullptr;               // set for a user's object
    const chardev::Chardev* chardev = nullptr;  // set for a chardev
  };

  // Errors: DeviceNotFound, or an ambiguous path.
  Result<Entry> find(std::string_view path) const;

  // Every readable property with its value: first "type", then those of the object, then the children of a container.
  std::vector<schema::ObjectPropertyValue> properties(const Entry& entry) const;

 private:
  std::vector<Entry> entries() const;

  const ObjectStore& objects_;
  const chardev::Registry& chardevs_;
};

}  // namespace blockexport::control
