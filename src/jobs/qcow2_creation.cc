#include "jobs/qcow2_creation.h"

#include <fmt/format.h>

#include "drivers/encryption/passphrases.h"
#include "jobs/luks_options.h"

namespace blockexport::jobs {
aio::Task<Result<>> Qcow2CreationWork::run(JobSteps& steps) {
  steps.expect(1);
  Result<> created = co_await create(steps);
  steps.finish_progress();
  co_return created;
}

aio::Task<Result<>> Qcow2CreationWork::create(JobSteps& steps) {
  CO_TRY_ASSIGN(const std::string file, co_await nodes_.open(std::move(file_)));
  CO_TRY(drivers::qcow2::check_creation(creation_));
  std::string data_file;
  if (data_file_) {
    CO_TRY_ASSIGN(data_file, co_await nodes_.open(std::move(*data_file_)));
  }
  CO_TRY(drivers::qcow2::check_sizes(creation_));
  drivers::qcow2::ImageFiles files;
  if (encryption_) {
    CO_TRY_ASSIGN(files.passphrase, prepare_encryption());
  }
  CO_TRY_ASSIGN(files.file, co_await nodes_.take(file));
  if (data_file_) {
    CO_TRY_ASSIGN(files.data_file_name, co_await prepare_data_file(data_file));
    CO_TRY_ASSIGN(files.data_file, co_await nodes_.take(data_file));
  }
  co_return co_await drivers::qcow2::create_image(creation_, std::move(files), steps);
}

Result<crypto::Passphrase> Qcow2CreationWork::prepare_encryption() {
  if (encryption_->format() != schema::QCryptoBlockFormat::kLuks) {
    return fail(Error("Images are not encrypted with AES-CBC any more").with_hint("Use the format luks."));
  }
  const auto& options = encryption_->as<schema::QCryptoBlockFormat::kLuks>();
  creation_.encryption = luks_parameters_of(options);
  return drivers::find_passphrase(secrets_, options.key_secret, "encrypt.");
}

// Without preallocation the data file gets the size of the image, whatever it had; otherwise create_image() makes it
// longer if need be.
aio::Task<Result<std::string>> Qcow2CreationWork::prepare_data_file(const std::string& node_name) {
  CO_TRY_ASSIGN(block::Node * node, graph_.lookup(node_name));
  std::string name = node->driver().filename();
  if (name.empty()) co_return fail(fmt::format("The data file '{}' has no file name", node_name));
  if (node->read_only()) co_return fail("Block node is read-only");
  if (drivers::qcow2::preallocation_of(creation_) == drivers::qcow2::Preallocation::kOff) {
    Result<> resized = co_await graph_.resize(node_name, static_cast<std::int64_t>(creation_.size_bytes));
    if (!resized) co_return fail(std::move(resized).error().with_prefix(drivers::qcow2::kResizeFailed));
  }
  co_return name;
}

}  // namespace blockexport::jobs
