#include "jobs/creation_work.h"

#include <variant>

#include "jobs/file_creation.h"
#include "jobs/luks_creation.h"
#include "jobs/qcow2_creation.h"

namespace blockexport::jobs {
namespace {

using Work = std::unique_ptr<JobWork>;

using drivers::qcow2::CompressionType;
using drivers::qcow2::Preallocation;

Result<Work> work_of(block::Graph&, const schema::BlockdevCreateOptionsFile& options, drivers::SecretSource*) {
  drivers::FileCreation creation{.filename = options.filename, .size_bytes = options.size};
  creation.preallocation = options.preallocation.value_or(creation.preallocation);
  creation.no_copy_on_write = options.nocow.value_or(false);
  creation.extent_size_hint_bytes = options.extent_size_hint.value_or(creation.extent_size_hint_bytes);
  return std::make_unique<FileCreationWork>(std::move(creation));
}

Preallocation preallocation_of(schema::PreallocMode mode) {
  switch (mode) {
    case schema::PreallocMode::kOff:
      return Preallocation::kOff;
    case schema::PreallocMode::kMetadata:
      return Preallocation::kMetadata;
    case schema::PreallocMode::kFalloc:
      return Preallocation::kAllocate;
    case schema::PreallocMode::kFull:
      return Preallocation::kWrite;
  }
  return Preallocation::kOff;
}

CompressionType compression_of(schema::Qcow2CompressionType type) {
  return type == schema::Qcow2CompressionType::kZstd ? CompressionType::kZstd : CompressionType::kZlib;
}

Result<Work> work_of(block::Graph& graph, const schema::BlockdevCreateOptionsQcow2& options,
                     drivers::SecretSource* secrets) {
  auto work = std::make_unique<Qcow2CreationWork>(graph, qcow2_creation_of(options), options.file, options.data_file);
  if (options.encrypt) work->encrypt(*options.encrypt, secrets);
  return work;
}

Result<Work> work_of(block::Graph& graph, const schema::BlockdevCreateOptionsLUKS& options,
                     drivers::SecretSource* secrets) {
  return std::make_unique<LuksCreationWork>(graph, options, secrets);
}

Result<Work> work_of(block::Graph&, std::monostate, drivers::SecretSource*) {
  return fail("Driver does not support blockdev-create");
}

}  // namespace

drivers::qcow2::Creation qcow2_creation_of(const schema::BlockdevCreateOptionsQcow2& options) {
  drivers::qcow2::Creation creation{.size_bytes = options.size};
  creation.version =
      options.version.value_or(schema::BlockdevQcow2Version::kV3) == schema::BlockdevQcow2Version::kV2 ? 2 : 3;
  creation.cluster_bytes = options.cluster_size.value_or(creation.cluster_bytes);
  // A negative number becomes one that is too large.
  if (options.refcount_bits) creation.refcount_bits = static_cast<std::uint64_t>(*options.refcount_bits);
  creation.extended_l2 = options.extended_l2.value_or(false);
  creation.lazy_refcounts = options.lazy_refcounts.value_or(false);
  creation.compression_type = compression_of(options.compression_type.value_or(schema::Qcow2CompressionType::kZlib));
  creation.preallocation = preallocation_of(options.preallocation.value_or(schema::PreallocMode::kOff));
  creation.backing_name = options.backing_file;
  if (options.backing_fmt) creation.backing_format = schema::name_of(*options.backing_fmt);
  creation.has_data_file = options.data_file.has_value();
  creation.data_file_raw = options.data_file_raw.value_or(false);
  return creation;
}

Result<Work> creation_work(block::Graph& graph, const schema::BlockdevCreateOptions& options,
                           drivers::SecretSource* secrets) {
  return std::visit([&](const auto& branch) { return work_of(graph, branch, secrets); }, options.branch);
}

}  // namespace blockexport::jobs
