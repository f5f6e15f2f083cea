#include "export/nbd/server/nbd_export.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "block/edge.h"
#include "block/node.h"
#include "export/nbd/wire/contexts.h"

namespace blockexport::nbd {
namespace {

constexpr std::uint32_t kPreferredBytes = 4096;

// The protocol requires a size that is a multiple of the minimum, and clients refuse any other. A node accepts requests
// of any alignment, so for a file of an odd size the minimum is reduced until it divides the size.
std::uint32_t minimum_block_bytes(std::uint32_t request_alignment, std::uint64_t size_bytes) {
  if (size_bytes == 0) return request_alignment;
  return static_cast<std::uint32_t>(
      std::min<std::uint64_t>(request_alignment, std::uint64_t{1} << std::countr_zero(size_bytes)));
}

}  // namespace

Result<> NbdExport::check(const ExportNames& names, bool has_tls_server, const NbdExportOptions& options) {
  if (options.name.size() > kStringBytesMax) return fail(fmt::format("export name '{}' too long", options.name));
  if (options.description && options.description->size() > kStringBytesMax) {
    return fail(fmt::format("description '{}' too long", *options.description));
  }
  if (names.contains(options.name)) {
    return fail(fmt::format("NBD server already has export named '{}'", options.name));
  }
  if (options.tls_authz && !has_tls_server) {
    return fail(
        Error(fmt::format("Export '{}' has 'tls-authz', which requires an NBD server with 'tls-creds'",
                          options.common.id))
            .with_hint("Without TLS clients do not prove their identity. Give the server tls-creds, or leave tls-authz "
                       "out to allow all clients."));
  }
  if (options.bitmap_count > kBitmapsPerExportMax) {
    return fail(fmt::format("Export '{}' has {} bitmaps, and can offer at most {}", options.common.id,
                            options.bitmap_count, kBitmapsPerExportMax));
  }
  return {};
}

NbdExport::NbdExport(ExportNames& names, const NbdExportOptions& options, std::unique_ptr<block::Edge> edge,
                     std::vector<block::HeldBitmap> bitmaps)
    : Export(options.common, std::move(edge)),
      names_(names),
      bitmaps_(std::move(bitmaps)),
      tls_authz_(options.tls_authz) {
  const block::Limits& limits = this->edge().node().limits();
  info_.name = options.name;
  info_.description = options.description;
  info_.block_sizes.preferred = std::max(kPreferredBytes, limits.request_alignment);
  info_.block_sizes.maximum =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(limits.transfer_bytes_max, kPayloadBytesMax));
  info_.read_only = !is_writable();
  info_.can_trim = info_.can_write_zeroes = info_.can_fast_zero = is_writable();
  info_.contexts.push_back({.name = std::string(kAllocationContext), .id = kAllocationContextId});
  if (options.allocation_depth) {
    info_.contexts.push_back({.name = std::string(kAllocationDepthContext), .id = kAllocationDepthContextId});
  }
  std::uint32_t bitmap_id = kFirstBitmapContextId;
  for (const block::HeldBitmap& bitmap : bitmaps_) {
    info_.contexts.push_back({.name = std::string(kBitmapContextPrefix) + bitmap.name(), .id = bitmap_id++});
  }
  info_.servers = options.servers;
  info_.is_restricted = options.tls_authz.has_value();
  info_.owner = this;
  refresh_size();
  names_.publish(*this, info_);
}

NbdExport::~NbdExport() {
  if (visible_) names_.withdraw(info_);
}

const ExportInfo& NbdExport::current_info() {
  // The file may have grown without a command.
  refresh_size();
  return info_;
}

void NbdExport::change(std::optional<std::string> description, std::optional<std::string> tls_authz,
                       std::optional<std::vector<std::string>> servers) {
  assert(tls_authz.has_value() == tls_authz_.has_value());
  info_.description = std::move(description);
  tls_authz_ = std::move(tls_authz);
  if (servers == info_.servers) return;
  info_.servers = std::move(servers);
  if (visible_) names_.report_change(*this, info_);
}

void NbdExport::refresh_size() {
  const block::Node& node = edge().node();
  info_.size_bytes = node.size_bytes();
  info_.block_sizes.minimum = minimum_block_bytes(node.limits().request_alignment, info_.size_bytes);
}

aio::Task<void> NbdExport::pass_barrier() const {
  if (is_writable()) co_await clients_.pass_barrier();
}

bool NbdExport::waits_for_storage() const {
  return std::ranges::all_of(clients_, [](const PlacedTransmission* one) { return one->waits_for_storage(); });
}

void NbdExport::detach(PlacedTransmission& client) {
  clients_.detach(client);
  announce_departure(client);
  client_was_cut();
  client_left();
}

std::vector<std::unique_ptr<block::Edge>> NbdExport::give_up_edges() {
  std::vector<std::unique_ptr<block::Edge>> edges = Export::give_up_edges();
  for (block::HeldBitmap& bitmap : bitmaps_) edges.push_back(bitmap.end());
  bitmaps_.clear();
  return edges;
}

void NbdExport::leave(exports::RemoveMode mode) {
  if (visible_) {
    visible_ = false;
    names_.withdraw(info_);
  }
  for (PlacedTransmission* client : clients_) {
    switch (mode) {
      case exports::RemoveMode::kSafe:
      case exports::RemoveMode::kHide:
        break;
      case exports::RemoveMode::kSoft:
        client->refuse();
        break;
      case exports::RemoveMode::kFinish:
        client->finish();
        break;
      case exports::RemoveMode::kHard:
        client->drop();
        break;
    }
  }
}

}  // namespace blockexport::nbd
