// QomTree: the paths under which qom-list, qom-get and qom-set find things: "/objects/ID", "/chardevs/ID", and any end
// of such a path that fits only one. A view made for one command; thread: the control reactor.
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

  // What a path leads to.
  struct Place {
    std::string path;
    std::string type;                           // "container", "iothread", "chardev-socket"
    UserObject* object = nullptr;               // of a user's object
    const chardev::Chardev* chardev = nullptr;  // of a chardev
  };

  // Errors: DeviceNotFound, or an ambiguous path.
  Result<Place> find(std::string_view path) const;

  // Every property with its value, where it can be read: "type", then the object's own, then what a container holds.
  std::vector<schema::ObjectPropertyValue> properties(const Place& place) const;

 private:
  std::vector<Place> places() const;

  const ObjectStore& objects_;
  const chardev::Registry& chardevs_;
};

}  // namespace blockexport::control
