// Registry: the process's chardevs by id. Owned by the daemon; thread: the control reactor.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "chardev/chardev.h"

namespace blockexport::chardev {

class Registry {
 public:
  // Null when there is none.
  Chardev* find(std::string_view id) const;
  // Errors: "Chardev with id 'X' already exists".
  Result<> check_new(const std::string& id) const;
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
};

}  // namespace blockexport::chardev
