#include "chardev/registry.h"

#include <fmt/format.h>

namespace blockexport::chardev {

Chardev* Registry::find(std::string_view id) const {
  for (const auto& chardev : chardevs_) {
    if (chardev->label() == id) return chardev.get();
  }
  return nullptr;
}

Result<> Registry::check_new(const std::string& id) const {
  if (find(id) == nullptr && !ids_being_opened_.contains(id)) return {};
  return fail(fmt::format("Chardev with id '{}' already exists", id));
}

Result<ReservedNames::Reservation> Registry::reserve(const std::string& id) {
  TRY(check_new(id));
  return ids_being_opened_.reserve(id);
}

Result<> Registry::remove(const std::string& id) {
  Chardev* found = find(id);
  if (found == nullptr) return fail(fmt::format("Chardev '{}' not found", id));
  if (found->has_frontend()) return fail(fmt::format("Chardev '{}' is busy", id));
  std::erase_if(chardevs_, [&](const auto& chardev) { return chardev.get() == found; });
  return {};
}

void Registry::settle() {
  for (const auto& chardev : chardevs_) chardev->settle();
}

}  // namespace blockexport::chardev
