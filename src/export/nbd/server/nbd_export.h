// NbdExport: a node offered over NBD under a name.
//
// Owned by the registry; servers find it by its name until it is hidden. Transmissions attach to it while they
// serve a client, each on a reactor of its own. Thread: the control reactor; the parts that transmissions borrow, any.
#pragma once

#include <span>

#include "block/held_bitmap.h"
#include "export/engine/write_fence.h"
#include "export/export.h"
#include "export/nbd/server/client_list.h"
#include "export/nbd/server/export_names.h"
#include "export/nbd/server/placed_transmission.h"
#include "export/nbd/wire/export_info.h"

namespace blockexport::nbd {

struct NbdExportOptions {
  exports::ExportOptions common;
  std::string name;
  std::optional<std::string> description = {};
  bool allocation_depth = false;
  std::size_t bitmap_count = 0;                          // number of dirty bitmaps that clients can read
  std::optional<std::vector<std::string>> servers = {};  // ids of those that may show it; nullopt: all
  std::optional<std::string> tls_authz = {};  // authorizer that decides which clients may use it; nullopt: all may
};

class NbdExport final : public exports::Export, private PublishedExport, private PlacedTransmission::Observer {
 public:
  // Checks whether such an export can be published. `has_tls_server`: a server requires TLS. Errors: a name or
  // description that is too long, a name in use, an authorizer although no server has TLS, too many bitmaps.
  static Result<> check(const ExportNames& names, bool has_tls_server, const NbdExportOptions& options);

  // Publishes a checked export in `names`, which outlives it. `bitmaps`: as many as the options say.
  NbdExport(ExportNames& names, const NbdExportOptions& options, std::unique_ptr<block::Edge> edge,
            std::vector<block::HeldBitmap> bitmaps = {});
  ~NbdExport() override;

  std::string_view type() const override { return "nbd"; }
  std::size_t client_count() const override { return clients_.size(); }
  bool waits_for_storage() const override;
  std::vector<exports::ServedClient*> clients() const override { return {clients_.begin(), clients_.end()}; }

  const ExportInfo& info() const { return info_; }
  // The description that new clients get: the size may have grown.
  const ExportInfo& current_info() override;
  // The export that `info` belongs to; null for null.
  static NbdExport* of(const ExportInfo* info) {
    return info == nullptr ? nullptr : static_cast<NbdExport*>(info->owner);
  }
  const std::optional<std::string>& tls_authz() const { return tls_authz_; }
  bool visible() const { return visible_; }
  // For clients that come from now on. An export keeps an authorizer, or keeps having none.
  void change(std::optional<std::string> description, std::optional<std::string> tls_authz,
              std::optional<std::vector<std::string>> servers);
  exports::WriteFence& fence() { return fence_; }
  // The bitmaps of the contexts from kFirstBitmapContextId on; valid as long as there are clients.
  std::span<const block::HeldBitmap> bitmaps() const { return bitmaps_; }

  // Called before the client runs.
  void attach(PlacedTransmission& client) {
    client.observe(*this);
    clients_.attach(client);
    announce_arrival(client);
  }
  // May destroy the export.
  void detach(PlacedTransmission& client);
  // Awaited after attach() and before the client is served, unless no client can write: see ClientList::pass_barrier().
  aio::Task<void> pass_barrier() const;

 private:
  void leave(exports::RemoveMode mode) override;
  std::vector<std::unique_ptr<block::Edge>> give_up_edges() override;
  // NBD has no message for a new size: clients that connect later see it.
  void resized() override { refresh_size(); }
  void refresh_size();
  void client_waits_for_storage() override { client_was_cut(); }

  ExportNames& names_;
  ExportInfo info_;
  std::vector<block::HeldBitmap> bitmaps_;
  exports::WriteFence fence_;
  ClientList clients_;
  std::optional<std::string> tls_authz_;
  bool visible_ = true;
};

}  // namespace blockexport::nbd
