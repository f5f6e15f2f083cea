// LuksDriver: shows the disk that is encrypted with LUKS in another node.
//
// Owned by its Node; owns the edges to its children: "file" with the encrypted sectors, and "header" with the LUKS
// header, where that is not at the begin of "file". Verbs run on any reactor. The node aligns requests to sectors.
// Nothing is known of the sectors' content without the key, so all of them are data; a write of zeroes writes sectors,
// and a discard does nothing, as in qemu-storage-daemon.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "block/driver.h"
#include "block/driver_table.h"
#include "block/edge.h"
#include "block/node.h"
#include "crypto/luks_volume.h"
#include "drivers/encryption/encrypted_data.h"
#include "drivers/encryption/encrypted_image.h"
#include "drivers/secret_source.h"
#include "schema/block_core.h"

namespace blockexport::drivers {

class LuksDriver final : public block::LiveDriver, public EncryptedImage {
 public:
  struct Children {
    std::unique_ptr<block::Edge> file;
    std::unique_ptr<block::Edge> header;  // null: the header is in `file`
  };

  // Reads the header, and opens a key slot with the passphrase, which takes as long as its iterations. Without a
  // passphrase (null), the driver shows what the header tells, and reads and writes fail. `key_secret`: the id of its
  // secret.
  static aio::Task<Result<std::unique_ptr<LuksDriver>>> open(Children children, crypto::Passphrase passphrase,
                                                             std::string key_secret);

  aio::Task<IoResult> read(block::Range range, block::IoBuffers buffers) override;
  aio::Task<IoResult> write(block::Range range, block::IoBuffers buffers, block::WriteOptions options) override;
  aio::Task<IoResult> write_zeroes(block::Range range, block::ZeroOptions options) override;
  aio::Task<IoResult> discard(block::Range range) override;
  bool can_discard() const override { return false; }
  aio::Task<IoResult> flush() override;
  aio::Task<IoResult> extents(block::Range range, block::Extents& extents) override;
  aio::Task<IoResult> prefetch(block::Range range) override;

  IoResult try_read(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                    block::InlineHints& hints) override;
  IoResult try_write(aio::Reactor& reactor, block::Range range, block::IoBuffers buffers,
                     block::InlineHints& hints) override;
  IoResult try_extents(aio::Reactor& reactor, block::Range range, block::Extents& extents) override;

  std::uint64_t size_bytes() const override;
  block::Limits limits() const override;
  std::string_view format_name() const override { return "luks"; }
  std::vector<block::Edge*> children() const override;
  block::Permissions child_permissions(const block::Edge& child, const block::Permissions& own,
                                       bool read_only) const override;
  void describe_image(schema::ImageInfo& info) const override;
  // New bytes are what zeros decrypt to.
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override;
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions& before, const schema::BlockdevOptions& after,
                                     block::NodeOptions& node_options, block::ReopenChildren& children) override;

  const crypto::LuksHeader* luks_header() const override { return &header_; }
  void set_luks_header(crypto::LuksHeader header) override { header_ = std::move(header); }
  block::Node& luks_node() const override { return (header_edge_ != nullptr ? header_edge_ : file_)->node(); }
  std::uint64_t luks_offset() const override { return 0; }
  const std::string& key_secret() const override { return key_secret_; }

 private:
  LuksDriver(Children children, crypto::LuksHeader header, std::unique_ptr<crypto::SectorCipher> cipher,
             std::string key_secret);
  block::Node& file() const { return file_->node(); }
  block::Range in_file(block::Range range) const { return {range.offset + payload_offset_, range.length}; }
  static std::uint64_t sector_of(block::Range range) { return range.offset / crypto::kSectorBytes; }

  std::unique_ptr<block::Edge> file_;
  std::unique_ptr<block::Edge> header_edge_;
  crypto::LuksHeader header_;  // the control reactor alone uses it
  const std::uint64_t payload_offset_;
  const std::string key_secret_;
  EncryptedData data_;
};

// Opens a node from the options of the schema. `secrets`: null if there are none. Thread: the control reactor.
aio::Task<Result<std::unique_ptr<LuksDriver>>> open_luks(const schema::BlockdevOptionsLUKS& options,
                                                         block::ChildOpener& children, SecretSource* secrets);

}  // namespace blockexport::drivers
