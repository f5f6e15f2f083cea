// NbdExport: a node offered over NBD under a name.
//
// Owned by the registry; known to the server by its name until it is hidden. Transmissions attach to it while they
// serve a client. Thread: the control reactor.
#pragma once

#include "export/export.h"
#include "export/nbd/export_info.h"
#include "export/nbd/transmission.h"
#include "export/nbd/write_fence.h"

namespace blockexport::nbd {

class Server;

struct NbdExportOptions {
  std::string id;
  std::string name;
  std::optional<std::string> description = {};
  bool writable = false;
  bool writethrough = false;
  bool allocation_depth = false;
};

class NbdExport final : public exports::Export {
 public:
  // Whether the server can take such an export. Errors: a name or description that is too long, a name in use.
  static Result<> check(const Server& server, const NbdExportOptions& options);

  // Publishes an export that was checked at `server`, which outlives it.
  NbdExport(Server& server, aio::Reactor& reactor, const NbdExportOptions& options, std::unique_ptr<block::Edge> edge);
  ~NbdExport() override;

  std::string_view type() const override { return "nbd"; }
  std::size_t client_count() const override { return clients_.size(); }

  const ExportInfo& info() const { return info_; }
  // The description of it as new clients see it: the size may have grown.
  const ExportInfo& current_info();
  bool visible() const { return visible_; }
  WriteFence& fence() { return fence_; }
  bool writethrough() const { return writethrough_; }

  void attach(Transmission& client) { clients_.push_back(&client); }
  // May destroy the export.
  void detach(Transmission& client);

 private:
  void leave(exports::RemoveMode mode) override;

  Server& server_;
  ExportInfo info_;
  WriteFence fence_;
  std::vector<Transmission*> clients_;
  bool writethrough_;
  bool visible_ = true;
};

}  // namespace blockexport::nbd
