#include "drivers/qcow2/create/creation.h"

#include <fmt/format.h>

#include <bit>

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kClusterBytesOfExtendedL2Min = 16384;

Error needs_version_3(std::string_view what) {
  return Error(fmt::format("{} compatibility level 1.1 and above (use version=v3 or greater)", what));
}

Result<> check_clusters(const Creation& creation) {
  if (creation.extended_l2 && creation.version < 3) {
    return fail(needs_version_3("Extended L2 entries are only supported with"));
  }
  const std::uint64_t bytes = creation.cluster_bytes;
  if (!std::has_single_bit(bytes) || bytes < (1u << kClusterBitsMin) || bytes > (1u << kClusterBitsMax)) {
    return fail(fmt::format("Cluster size must be a power of two between {} and {}k", 1u << kClusterBitsMin,
                            (1u << kClusterBitsMax) >> 10));
  }
  if (creation.extended_l2 && bytes < kClusterBytesOfExtendedL2Min) {
    return fail(fmt::format("Extended L2 entries are only supported with cluster sizes of at least {} bytes",
                            kClusterBytesOfExtendedL2Min));
  }
  return {};
}

Result<> check_refcounts(const Creation& creation) {
  if (creation.version < 3 && creation.lazy_refcounts) {
    return fail(needs_version_3("Lazy refcounts only supported with"));
  }
  if (!std::has_single_bit(creation.refcount_bits) || creation.refcount_bits > (1u << kRefcountOrderMax)) {
    return fail("Refcount width must be a power of two and may not exceed 64 bits");
  }
  if (creation.version < 3 && creation.refcount_bits != 16) {
    return fail(
        "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)");
  }
  return {};
}

}  // namespace

Result<> check_creation(const Creation& creation) {
  if (creation.size_bytes % kSectorBytes != 0) {
    return fail(fmt::format("Image size must be a multiple of {} bytes", kSectorBytes));
  }
  TRY(check_clusters(creation));
  if (creation.backing_name && creation.preallocation != Preallocation::kOff && !creation.extended_l2) {
    return fail("Backing file and preallocation can only be used at the same time if extended_l2 is on");
  }
  if (creation.backing_format && !creation.backing_name) {
    return fail("Backing format cannot be used without backing file");
  }
  TRY(check_refcounts(creation));
  if (creation.data_file_raw && !creation.has_data_file) return fail("data-file-raw requires data-file");
  if (creation.data_file_raw && creation.backing_name) {
    return fail("Backing file and data-file-raw cannot be used at the same time");
  }
  if (creation.has_data_file && creation.version < 3) {
    return fail(needs_version_3("External data files are only supported with"));
  }
  return {};
}

Result<> check_sizes(const Creation& creation) {
  if (creation.version < 3 && creation.compression_type != CompressionType::kZlib) {
    return fail(needs_version_3("Non-zlib compression type is only supported with"));
  }
  if (creation.size_bytes > INT64_MAX) return fail(fmt::format("{}Image size cannot be negative", kResizeFailed));
  const Geometry geometry = geometry_of(creation);
  if (geometry.l1_entries_for(creation.size_bytes) > kL1BytesMax / sizeof(std::uint64_t)) {
    return fail(Error::system(fmt::format("{}Failed to grow the L1 table", kResizeFailed), Errno(EFBIG)));
  }
  if (creation.backing_name && creation.backing_name->size() > kBackingNameBytesMax) {
    return fail(Error::system(fmt::format("Could not assign backing file '{}' with format '{}'", *creation.backing_name,
                                          creation.backing_format.value_or("(null)")),
                              Errno(EINVAL)));
  }
  return {};
}

Geometry geometry_of(const Creation& creation) {
  return {.cluster_bits = static_cast<unsigned>(std::countr_zero(creation.cluster_bytes)),
          .refcount_order = static_cast<unsigned>(std::countr_zero(creation.refcount_bits)),
          .extended_l2 = creation.extended_l2,
          .zero_flag = creation.version >= 3,
          .data_file = creation.has_data_file};
}

Preallocation preallocation_of(const Creation& creation) {
  if (creation.data_file_raw && creation.preallocation == Preallocation::kOff) return Preallocation::kMetadata;
  return creation.preallocation;
}

}  // namespace blockexport::drivers::qcow2
