// Reload: one change of the daemon to another configuration, which takes effect as a whole or not at all.
//
// It prepares objects, monitors and addresses, which nobody uses yet, and then makes one change of the graph, which
// opens nodes and attaches exports. As its partner in the decision, the Reload checks last that no client prevents it;
// then everything becomes visible in one turn of the loop, and the rest is retired. An error before that undoes all.
// Thread: the control reactor.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "block/graph_step.h"
#include "configuration/difference.h"
#include "control/commands/server_preparation.h"
#include "control/configuration/export_change.h"
#include "control/configuration/process_change.h"
#include "control/configuration/staged_objects.h"

namespace blockexport::control {

class Control;

// The configuration of a server without its ID.
schema::NbdServerConfiguration plain_server(const schema::ServerConfiguration& one);

class Reload final : private block::ChangePartner {
 public:
  // All references outlive it. `before`: what the daemon has of its files; `after`: decoded and checked.
  Reload(Control& control, const ProcessOptions& process, const schema::Configuration& before,
         const configuration::ReadConfiguration& after, const configuration::Differences& differences,
         bool is_disruptive);

  // Errors name the place in the files; nothing has changed then. Not cancellable once the decision is made.
  aio::Task<Result<>> run();

 private:
  using Difference = configuration::Difference;

  aio::Task<Result<>> prepare();
  aio::Task<Result<>> prepare_objects();
  aio::Task<Result<>> prepare_chardevs();
  aio::Task<Result<>> prepare_monitors();
  aio::Task<Result<>> prepare_servers();
  aio::Task<Result<>> change_graph();
  Result<> add_opening_steps(bool after_retirement);
  void add_step(configuration::Section section, const std::string& id, block::GraphStep step);
  aio::Task<void> abort();
  aio::Task<void> retire();
  aio::Task<void> retire_objects();

  void plan_nodes();
  void plan_exports();
  bool waits_for_retirement(const schema::BlockdevOptions& options) const;
  bool is_retired(const std::string& name) const;
  // The nodes before they are retired, or after.
  Result<> check_retired_nodes(bool are_retired) const;
  Result<> check_user(const block::Node& node, const block::Edge& user) const;

  // ChangePartner
  Result<> decide() override;
  void commit() override;

  // The error with the place of an object, or of its option.
  Error at(configuration::Section section, const std::string& id, Error error) const;

  Control& control_;
  const schema::Configuration& before_;
  const configuration::ReadConfiguration& after_;
  const configuration::Differences& differences_;
  StagedObjects objects_;
  ExportChange exports_;
  ProcessChange process_;
  std::vector<PreparedServer> servers_;
  std::vector<std::string> chardevs_made_;
  std::vector<std::string> monitors_made_;
  std::vector<schema::BlockdevOptions> nodes_opened_;
  std::vector<schema::BlockdevOptions> nodes_reopened_;
  std::vector<std::string> nodes_retired_;
  std::set<std::string> names_waited_for_;  // of retired nodes, and of those that are opened after their retirement
  std::vector<block::GraphStep> steps_;
  std::vector<std::pair<configuration::Section, std::string>> owners_of_steps_;
  std::vector<std::unique_ptr<UserObject>> objects_replaced_;
};

}  // namespace blockexport::control
