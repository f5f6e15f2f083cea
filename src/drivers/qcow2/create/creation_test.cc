#include "drivers/qcow2/create/creation.h"

#include <gtest/gtest.h>

#include <functional>

namespace blockexport::drivers::qcow2 {
namespace {

std::string error_of(const Creation& creation) {
  Result<> checked = check_creation(creation);
  if (checked) checked = check_sizes(creation);
  return checked ? "" : checked.error().message();
}

// A change of the options, and the message that it causes, in the order in which the checks are made.
struct Wrong {
  std::string message;
  void (*make)(Creation&);
};

const Wrong kInOrder[] = {
    {"Image size must be a multiple of 512 bytes", [](Creation& c) { c.size_bytes += 1; }},
    {"Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)",
     [](Creation& c) {
       c.version = 2;
       c.extended_l2 = true;
     }},
    {"Cluster size must be a power of two between 512 and 2048k", [](Creation& c) { c.cluster_bytes = 1000; }},
    {"Backing format cannot be used without backing file", [](Creation& c) { c.backing_format = "raw"; }},
    {"Refcount width must be a power of two and may not exceed 64 bits", [](Creation& c) { c.refcount_bits = 3; }},
    {"data-file-raw requires data-file", [](Creation& c) { c.data_file_raw = true; }},
    {"Could not resize image: Failed to grow the L1 table: File too large",
     [](Creation& c) { c.size_bytes |= std::uint64_t{1} << 62; }},
};

TEST(CreationTest, TheFirstOfSeveralErrorsIsReported) {
  for (std::size_t first = 0; first < std::size(kInOrder); ++first) {
    for (std::size_t second = first; second < std::size(kInOrder); ++second) {
      Creation creation{.size_bytes = 1u << 20};
      kInOrder[second].make(creation);
      kInOrder[first].make(creation);
      EXPECT_EQ(error_of(creation), kInOrder[first].message) << first << " " << second;
    }
  }
}

TEST(CreationTest, EachRestrictionIsToldInTheWordsOfTheInterface) {
  EXPECT_EQ(error_of({.size_bytes = 1u << 20, .cluster_bytes = 8192, .extended_l2 = true}),
            "Extended L2 entries are only supported with cluster sizes of at least 16384 bytes");
  EXPECT_EQ(error_of({.size_bytes = 0, .preallocation = Preallocation::kMetadata, .backing_name = "x"}),
            "Backing file and preallocation can only be used at the same time if extended_l2 is on");
  EXPECT_EQ(error_of({.size_bytes = 0, .version = 2, .lazy_refcounts = true}),
            "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)");
  EXPECT_EQ(error_of({.size_bytes = 0, .version = 2, .refcount_bits = 8}),
            "Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or "
            "greater)");
  EXPECT_EQ(error_of({.size_bytes = 0, .backing_name = "x", .has_data_file = true, .data_file_raw = true}),
            "Backing file and data-file-raw cannot be used at the same time");
  EXPECT_EQ(
      error_of({.size_bytes = 0, .version = 2, .has_data_file = true}),
      "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)");
  EXPECT_EQ(error_of({.size_bytes = 0, .version = 2, .compression_type = CompressionType::kZstd}),
            "Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or "
            "greater)");
  EXPECT_EQ(error_of({.size_bytes = UINT64_MAX - 511}), "Could not resize image: Image size cannot be negative");
  EXPECT_EQ(error_of({.size_bytes = 0, .backing_name = std::string(1024, 'x')}),
            "Could not assign backing file '" + std::string(1024, 'x') + "' with format '(null)': Invalid argument");
}

TEST(CreationTest, EachClusterSizeAndRefcountWidthOfTheSpecificationIsAccepted) {
  for (std::uint64_t cluster = 512; cluster <= 2u << 20; cluster *= 2) {
    for (std::uint64_t bits = 1; bits <= 64; bits *= 2) {
      EXPECT_EQ(error_of({.size_bytes = 1u << 20, .cluster_bytes = cluster, .refcount_bits = bits}), "");
    }
  }
}

TEST(CreationTest, ARawDataFileNeedsAllTables) {
  EXPECT_EQ(preallocation_of({.has_data_file = true, .data_file_raw = true}), Preallocation::kMetadata);
  EXPECT_EQ(preallocation_of({.has_data_file = true}), Preallocation::kOff);
}

}  // namespace
}  // namespace blockexport::drivers::qcow2
