#include "jobs/luks_creation.h"

#include <algorithm>

#include "drivers/encryption/passphrases.h"
#include "drivers/qcow2/create/root_luks_storage.h"
#include "jobs/luks_options.h"

namespace blockexport::jobs {
namespace {

using drivers::qcow2::RootLuksStorage;
using drivers::qcow2::RootRequests;

// Bytes that one request allocates.
constexpr std::uint64_t kAllocatedPieceBytes = 256u << 20;

}  // namespace

aio::Task<Result<>> LuksCreationWork::run(JobSteps& steps) {
  steps.expect(1);
  Result<> created = co_await create(steps);
  steps.finish_progress();
  co_return created;
}

aio::Task<Result<>> LuksCreationWork::create(JobSteps& steps) {
  if (!options_.header && !options_.file) co_return fail("Either the parameter 'header' or 'file' must be specified");
  if (options_.preallocation && !options_.file) {
    co_return fail("Parameter 'preallocation' requires 'file' to be specified for formatting LUKS disk");
  }
  const crypto::LuksParameters parameters = luks_parameters_of(options_);
  std::string file;
  std::string header_node;
  if (options_.file) {
    CO_TRY_ASSIGN(file, co_await nodes_.open(std::move(*options_.file)));
  }
  if (options_.header) {
    CO_TRY_ASSIGN(header_node, co_await nodes_.open(std::move(*options_.header)));
  }
  const bool is_detached = options_.header.has_value();
  CO_TRY_ASSIGN(crypto::Passphrase passphrase, drivers::find_passphrase(secrets_, options_.key_secret, ""));
  CO_TRY_ASSIGN(crypto::LuksHeader header, crypto::make_luks_header(parameters.cipher, parameters.hash,
                                                                    is_detached ? crypto::LuksPlacement::kDetached
                                                                                : crypto::LuksPlacement::kBeforeData));
  const std::uint64_t area_bytes = crypto::luks_header_area_bytes(header);
  const std::uint64_t before_data = is_detached ? 0 : area_bytes;
  if (options_.size > block::kNodeBytesMax - before_data) {
    co_return fail("The requested file size is too large");
  }
  if (is_detached) {
    CO_TRY(co_await graph_.resize(header_node, static_cast<std::int64_t>(area_bytes)));
  }
  block::Edge* edge = nullptr;
  if (!file.empty()) {
    CO_TRY(co_await graph_.resize(file, static_cast<std::int64_t>(options_.size + before_data)));
    CO_TRY_ASSIGN(edge, co_await nodes_.take(file));
    CO_TRY(co_await allocate(*edge, options_.size + before_data, steps));
  }
  if (is_detached) {
    CO_TRY_ASSIGN(edge, co_await nodes_.take(header_node));
  }
  RootLuksStorage storage(RootRequests(*edge), 0);
  // The last moment to give up.
  if (const IoResult result = co_await steps.pause_point(); !result) {
    co_return fail(Error::system("Could not write encryption header", result.error()));
  }
  CO_TRY(co_await crypto::create_luks(storage, std::move(header), std::move(passphrase), parameters.iteration_time_ms));
  co_return Result<>();
}

// The data are what zeros decrypt to.
aio::Task<Result<>> LuksCreationWork::allocate(block::Edge& edge, std::uint64_t size_bytes, JobSteps& steps) {
  const schema::PreallocMode mode = options_.preallocation.value_or(schema::PreallocMode::kOff);
  if (mode == schema::PreallocMode::kOff || mode == schema::PreallocMode::kMetadata) co_return Result<>();
  RootRequests target(edge);
  steps.expect(size_bytes);
  for (std::uint64_t offset = 0; offset < size_bytes;) {
    const std::uint64_t length = std::min(kAllocatedPieceBytes, size_bytes - offset);
    IoResult result = co_await steps.pause_point();
    if (result) result = co_await target.write_zeroes({offset, length}, /*may_unmap=*/false);
    if (!result) co_return fail(Error::system("Could not preallocate new data", result.error()));
    offset += length;
    steps.advance(length);
  }
  co_return Result<>();
}

}  // namespace blockexport::jobs
