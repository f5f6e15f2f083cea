#include "drivers/luks/luks_driver.h"

#include <fmt/format.h>

#include <utility>

#include "block/reopen_children.h"
#include "drivers/encryption/luks_information.h"
#include "drivers/encryption/node_luks_storage.h"
#include "drivers/encryption/passphrases.h"
#include "drivers/options.h"
#include "schema/block_node_info.h"

namespace blockexport::drivers {

using block::IoBuffers;
using block::Permission;
using block::Permissions;
using block::Range;

aio::Task<Result<std::unique_ptr<LuksDriver>>> LuksDriver::open(Children children, crypto::Passphrase passphrase,
                                                                std::string key_secret) {
  const bool is_detached = children.header != nullptr;
  NodeLuksStorage storage((is_detached ? children.header : children.file)->node(), 0);
  CO_TRY_ASSIGN(crypto::LuksHeader header,
                co_await crypto::read_luks_header(
                    storage, is_detached ? crypto::LuksPlacement::kDetached : crypto::LuksPlacement::kBeforeData));
  std::unique_ptr<crypto::SectorCipher> cipher;
  if (passphrase != nullptr) {
    CO_TRY_ASSIGN(const SecretBytes master_key, co_await crypto::unlock_luks(storage, header, std::move(passphrase)));
    CO_TRY_ASSIGN(cipher, crypto::SectorCipher::create(header.cipher, master_key.bytes()));
  }
  if (header.payload_offset() > children.file->node().size_bytes()) {
    co_return fail(Error::system("Could not refresh total sector count", Errno(EIO)));
  }
  co_return std::unique_ptr<LuksDriver>(
      new LuksDriver(std::move(children), std::move(header), std::move(cipher), std::move(key_secret)));
}

LuksDriver::LuksDriver(Children children, crypto::LuksHeader header, std::unique_ptr<crypto::SectorCipher> cipher,
                       std::string key_secret)
    : file_(std::move(children.file)),
      header_edge_(std::move(children.header)),
      header_(std::move(header)),
      payload_offset_(header_.payload_offset()),
      key_secret_(std::move(key_secret)),
      data_(std::move(cipher)) {}

aio::Task<IoResult> LuksDriver::read(Range range, IoBuffers buffers) {
  return data_.read(file(), in_file(range), sector_of(range), buffers);
}

aio::Task<IoResult> LuksDriver::write(Range range, IoBuffers buffers, block::WriteOptions options) {
  return data_.write(file(), in_file(range), sector_of(range), buffers, options);
}

aio::Task<IoResult> LuksDriver::write_zeroes(Range range, block::ZeroOptions options) {
  if (options.no_fallback) co_return fail(ENOTSUP);
  co_return co_await data_.write_zeroes(file(), in_file(range), sector_of(range),
                                        {.force_unit_access = options.force_unit_access});
}

aio::Task<IoResult> LuksDriver::discard(Range) {
  co_return IoResult();
}

aio::Task<IoResult> LuksDriver::flush() {
  return file().flush();
}

aio::Task<IoResult> LuksDriver::extents(Range range, block::Extents& extents) {
  extents.push_back({.length = range.length, .data = true});
  co_return IoResult();
}

aio::Task<IoResult> LuksDriver::prefetch(Range range) {
  return file().prefetch(in_file(range));
}

IoResult LuksDriver::try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return data_.try_read(file(), reactor, in_file(range), sector_of(range), buffers, hints);
}

IoResult LuksDriver::try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, block::InlineHints& hints) {
  return data_.try_write(file(), reactor, in_file(range), sector_of(range), buffers, hints);
}

IoResult LuksDriver::try_extents(aio::Reactor&, Range range, block::Extents& extents) {
  extents.push_back({.length = range.length, .data = true});
  return {};
}

std::uint64_t LuksDriver::size_bytes() const {
  const std::uint64_t file_bytes = file().size_bytes();
  if (file_bytes <= payload_offset_) return 0;
  // A part of a sector cannot be decrypted.
  return (file_bytes - payload_offset_) / crypto::kSectorBytes * crypto::kSectorBytes;
}

block::Limits LuksDriver::limits() const {
  return {.request_alignment = crypto::kSectorBytes, .optimal_bytes = file().limits().optimal_bytes};
}

std::vector<block::Edge*> LuksDriver::children() const {
  if (header_edge_ == nullptr) return {file_.get()};
  return {header_edge_.get(), file_.get()};
}

// A change of key slots needs the permission to write the header whatever the users need. The header must stay as it
// is, and the size of the data what it is.
Permissions LuksDriver::child_permissions(const block::Edge&, const Permissions& own, bool read_only) const {
  Permissions needed{.used = own.used | Permission::kConsistentRead,
                     .shared = own.shared | Permission::kWriteUnchanged};
  if (!read_only) needed.used = needed.used | Permission::kWrite | Permission::kResize;
  needed.shared = needed.shared - (Permission::kWrite | Permission::kResize);
  return needed;
}

void LuksDriver::describe_image(schema::ImageInfo& info) const {
  info.encrypted = true;
  constexpr auto kIndex = static_cast<std::size_t>(schema::ImageInfoSpecificKind::kLuks);
  info.format_specific.emplace().branch.emplace<kIndex>(
      schema::ImageInfoSpecificLUKSWrapper{luks_information(header_)});
}

aio::Task<Result<>> LuksDriver::resize(std::uint64_t size_bytes) {
  if (size_bytes > block::kNodeBytesMax - payload_offset_) {
    co_return fail(Error::system("The requested file size is too large", Errno(EFBIG)));
  }
  co_return co_await file().resize(size_bytes + payload_offset_);
}

aio::Task<Result<>> LuksDriver::prepare_reopen(const schema::BlockdevOptions& before,
                                               const schema::BlockdevOptions& after, block::NodeOptions&,
                                               block::ReopenChildren&) {
  const auto& old_options = before.as<schema::BlockdevDriver::kLuks>();
  const auto& new_options = after.as<schema::BlockdevDriver::kLuks>();
  CO_TRY(check_unchanged("key-secret", old_options.key_secret, new_options.key_secret));
  if (old_options.header.has_value() != new_options.header.has_value()) {
    co_return fail(changed_option("header", !new_options.header));
  }
  co_return Result<>();
}

aio::Task<Result<std::unique_ptr<LuksDriver>>> open_luks(const schema::BlockdevOptionsLUKS& options,
                                                         block::ChildOpener& children, SecretSource* secrets) {
  constexpr block::ChildRoles kImage = block::ChildRole::kData | block::ChildRole::kMetadata;
  LuksDriver::Children edges;
  CO_TRY_ASSIGN(edges.file,
                co_await children.open_child(options.file, "file",
                                             options.header ? block::ChildRoles(block::ChildRole::kData) : kImage));
  if (options.header) {
    CO_TRY_ASSIGN(edges.header, co_await children.open_child(*options.header, "header", block::ChildRole::kMetadata));
  }
  crypto::Passphrase passphrase;
  if (!is_to_be_locked(secrets, options.key_secret)) {
    CO_TRY_ASSIGN(passphrase, find_passphrase(secrets, options.key_secret, ""));
  }
  co_return co_await LuksDriver::open(std::move(edges), std::move(passphrase), options.key_secret.value_or(""));
}

}  // namespace blockexport::drivers
