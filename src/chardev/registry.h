// Registry: the process's chardevs by id. Owned by the daemon; thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/reserved_names.h"
#include "chardev/chardev.h"

namespace blockexport::chardev {

class Registry {
 public:
  // Null when there is none.
  Chardev* find(std::string_view id) const;
  // Errors: "Chardev with id 'X' already exists", or is being opened.
  Result<> check_new(const std::string& id) const;
  // The id of a chardev that is being opened, until it is added. Errors: those of check_new().
  Result<ReservedNames::Reservation> reserve(const std::string& id);
  void add(std::unique_ptr<Chardev> chardev) { chardevs_.push_back(std::move(chardev)); }
  // Errors: "Chardev 'X' not found", "Chardev 'X' is busy".
  Result<> remove(const std::string& id);
  // Calls Chardev::settle() of all chardevs.
  void settle();
  // Destroys all chardevs, which no frontend uses any longer.
  void clear() { chardevs_.clear(); }

  const std::vector<std::unique_ptr<Chardev>>& all() const { return chardevs_; }

 private:
  std::vector<std::unique_ptr<Chardev>> chardevs_;
  ReservedNames ids_being_opened_;
};

}  // namespace blockexport::chardev
