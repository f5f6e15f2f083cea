#include "jobs/luks_amendment.h"

#include "drivers/encryption/node_luks_storage.h"
#include "drivers/encryption/passphrases.h"
#include "drivers/luks/luks_driver.h"
#include "drivers/qcow2/qcow2_driver.h"

namespace blockexport::jobs {
namespace {

using drivers::EncryptedImage;
using drivers::LuksDriver;
using drivers::qcow2::Qcow2Driver;

// Null: the node shows no encrypted image.
EncryptedImage* encrypted_image_of(block::Node& node) {
  block::Driver& driver = node.driver();
  if (driver.format_name() == "luks") return &static_cast<LuksDriver&>(driver);
  if (driver.format_name() != "qcow2") return nullptr;
  auto& qcow2 = static_cast<Qcow2Driver&>(driver);
  return qcow2.is_encrypted() ? &qcow2 : nullptr;
}

// The header of a node's image: each access enters the gate of an edge to the node alone, so that the graph may change
// between two of them. ECANCELED: the edge leads to another image by now.
class AmendedStorage final : public crypto::LuksStorage {
 public:
  AmendedStorage(block::Edge& edge, EncryptedImage& image) : edge_(edge), image_(image) {}

  aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes) override {
    CO_TRY(co_await enter());
    const IoResult result = co_await storage().read(offset, bytes);
    edge_.leave();
    co_return result;
  }
  aio::Task<IoResult> write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    CO_TRY(co_await enter());
    const IoResult result = co_await storage().write(offset, bytes);
    edge_.leave();
    co_return result;
  }
  aio::Task<IoResult> flush() override {
    CO_TRY(co_await enter());
    const IoResult result = co_await storage().flush();
    edge_.leave();
    co_return result;
  }

 private:
  aio::Task<IoResult> enter() {
    CO_TRY(co_await edge_.enter());
    if (encrypted_image_of(edge_.node()) == &image_) co_return IoResult();
    edge_.leave();
    co_return fail(ECANCELED);
  }
  drivers::NodeLuksStorage& storage() { return storage_.emplace(image_.luks_node(), image_.luks_offset()); }

  block::Edge& edge_;
  EncryptedImage& image_;
  std::optional<drivers::NodeLuksStorage> storage_;
};

}  // namespace

Result<> check_amendment(block::Node& node, const schema::BlockdevAmendOptions& options) {
  if (node.driver().format_name() != schema::name_of(options.driver())) {
    return fail("x-blockdev-amend doesn't support changing the block driver");
  }
  if (node.read_only()) return fail("Block node is read-only");
  return {};
}

aio::Task<Result<>> LuksAmendmentWork::run(JobSteps& steps) {
  steps.expect(1);
  Result<> amended = co_await amend();
  steps.finish_progress();
  co_return amended;
}

aio::Task<Result<>> LuksAmendmentWork::amend() {
  CO_TRY_ASSIGN(block::Edge * edge, co_await nodes_.keep(node_name_));
  CO_TRY(check_amendment(edge->node(), options_));
  if (options_.driver() == schema::BlockdevDriver::kLuks) {
    co_return co_await change_slots(*edge, options_.as<schema::BlockdevDriver::kLuks>());
  }
  const auto& encrypt = options_.as<schema::BlockdevDriver::kQcow2>().encrypt;
  if (!encrypt) co_return Result<>();
  EncryptedImage* const image = encrypted_image_of(edge->node());
  if (image == nullptr) co_return fail("image is not encrypted, can't amend");
  if (encrypt->format() != schema::QCryptoBlockFormat::kLuks) {
    co_return fail("Amend can't be used to change the qcow2 encryption format");
  }
  if (image->luks_header() == nullptr) {
    co_return fail("Only LUKS encryption options can be amended for qcow2 with blockdev-amend");
  }
  co_return co_await change_slots(*edge, encrypt->as<schema::QCryptoBlockFormat::kLuks>());
}

aio::Task<Result<>> LuksAmendmentWork::change_slots(block::Edge& edge,
                                                    const schema::QCryptoBlockAmendOptionsLUKS& options) {
  EncryptedImage& image = *encrypted_image_of(edge.node());
  CO_TRY_ASSIGN(crypto::LuksChange change, change_of(options, image.key_secret()));
  if (!image.begin_key_change()) co_return fail("A change of the key slots of this image is under way");
  AmendedStorage storage(edge, image);
  crypto::LuksHeader header = *image.luks_header();
  Result<> changed = co_await crypto::change_luks_slots(storage, header, std::move(change));
  // The header has the slots, too, that were written before a failure.
  image.set_luks_header(std::move(header));
  image.end_key_change();
  co_return changed;
}

Result<crypto::Passphrase> LuksAmendmentWork::passphrase(const std::string& id) const {
  return drivers::find_passphrase(&secrets_, id, "");
}

Result<crypto::LuksChange> LuksAmendmentWork::change_of(const schema::QCryptoBlockAmendOptionsLUKS& options,
                                                        const std::string& key_secret) const {
  crypto::LuksChange change{.activate = options.state == schema::QCryptoBlockLUKSKeyslotState::kActive,
                            .slot = options.keyslot,
                            .force = force_};
  if (change.activate) {
    if (!options.new_secret) return fail("'new-secret' is required to activate a keyslot");
    if (options.old_secret) return fail("'old-secret' must not be given when activating keyslots");
    // A negative number becomes one that is too large.
    if (options.iter_time) change.iteration_time_ms = static_cast<std::uint64_t>(*options.iter_time);
    TRY_ASSIGN(change.current, passphrase(options.secret.value_or(key_secret)));
    TRY_ASSIGN(change.added, passphrase(*options.new_secret));
    return change;
  }
  if (options.new_secret) return fail("'new-secret' must not be given when erasing keyslots");
  if (options.iter_time) return fail("'iter-time' must not be given when erasing keyslots");
  if (options.secret) return fail("'secret' must not be given when erasing keyslots");
  if (options.old_secret) {
    TRY_ASSIGN(change.removed, passphrase(*options.old_secret));
  }
  return change;
}

}  // namespace blockexport::jobs
