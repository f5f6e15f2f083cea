// ExportChange: the exports of a reload: which leave, which are made, and which get other options.
//
// It gives the steps of the graph for them; decide() makes the last check, and commit() lets old exports leave
// and publishes new ones, both without waiting. Names exports and nodes by their ids, never by pointers, while the
// graph prepares. Owned by a Reload; thread: the control reactor.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "block/graph_step.h"
#include "configuration/difference.h"
#include "export/nbd/server/nbd_export.h"
#include "schema/config.h"

namespace blockexport::control {

class Control;

class ExportChange {
 public:
  // `is_disruptive`: exports with clients may be replaced.
  ExportChange(Control& control, bool is_disruptive) : control_(control), is_disruptive_(is_disruptive) {}

  // Adds an export of one difference. `before` and `after`: its configurations, null where there is none; both outlive
  // the call.
  void add(const configuration::Difference& difference, const schema::ExportConfiguration* before,
           const schema::ExportConfiguration* after);

  // Names of the own nodes that leave or give their name to new ones.
  const std::vector<std::string>& retired_nodes() const { return retired_nodes_; }
  // Options of the own nodes that are reopened.
  const std::vector<schema::BlockdevOptions>& reopened_nodes() const { return reopened_nodes_; }
  // Checks what can be checked before anything is opened: an export that leaves has no clients that prevent it.
  Result<> check() const;
  // One new export. The slots of its steps are members, which stay where they are.
  struct Added {
    schema::BlockExportOptions options;
    std::optional<std::vector<std::string>> servers = {};  // those that may show it; nullopt: all
    std::optional<schema::BlockdevOptions> own_node = {};  // to be opened
    nbd::NbdExportOptions made = {};
    std::unique_ptr<block::Edge> edge = {};
    std::vector<block::HeldBitmap> bitmaps = {};
  };
  std::list<Added>& added() { return added_; }
  // The step that attaches a new export, and opens its own node if it has one. Errors: iothreads that do not exist.
  Result<block::GraphStep> attaching_step(Added& one) const;
  // The step that holds the bitmaps of one; nullopt without bitmaps.
  static std::optional<block::GraphStep> holding_step(Added& one);

  // Errors: those of check(), or an id or a name that another export has taken meanwhile.
  Result<> decide() const;
  void commit();
  // Waits until the exports that commit() has removed have ended, unless their clients may go on.
  aio::Task<void> wait_for_end();

  // True if the edge belongs to an export that leaves.
  bool is_leaving(const block::Edge& edge) const;

 private:
  struct Removed {
    exports::RemoveMode mode;
    bool is_replaced;
  };

  Result<nbd::NbdExportOptions> nbd_options(const Added& added) const;
  Result<> check_clients() const;
  std::set<std::string> names_that_leave() const;
  void publish(Added& added);

  Control& control_;
  const bool is_disruptive_;
  std::map<std::string, Removed> removed_;  // by ID
  std::list<Added> added_;                  // its addresses are slots of steps
  std::vector<schema::ExportConfiguration> changed_;
  std::vector<std::string> retired_nodes_;
  std::vector<schema::BlockdevOptions> reopened_nodes_;
  std::vector<std::uint64_t> ending_;  // numbers of the exports that end soon
};

}  // namespace blockexport::control
