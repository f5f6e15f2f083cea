#include "client/backup/backup_directory.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace blockexport::backup {
namespace {

class BackupDirectoryTest : public ::testing::Test {
 protected:
  BackupDirectoryTest() : directory_(made_folder()) {}
  ~BackupDirectoryTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(directory_.path(), ignored);
  }

  static std::string made_folder() {
    std::string pattern = ::testing::TempDir() + "backup_directory.XXXXXX";
    return ::mkdtemp(pattern.data()) != nullptr ? pattern : "";
  }

  // Without a sync, which would take long for many points.
  static void put(const std::string& path, std::string_view text) { std::ofstream(path, std::ios::trunc) << text; }

  // Writes a point without chunks, which is incremental if it has a parent, and returns its checksum.
  Sha256 write_point(std::uint64_t number, std::uint64_t parent, const Sha256& parent_sum,
                     std::uint64_t disk_bytes = 0) const {
    Manifest manifest{.number = number,
                      .time = time_text(static_cast<std::int64_t>(number)),
                      .export_name = "vda",
                      .disk_bytes = disk_bytes,
                      .parent = {},
                      .bitmap = {},
                      .table_sum = sha256_of("")};
    if (parent != 0) manifest.parent = ParentPoint{.number = parent, .sum = parent_sum};
    if (parent == 0) manifest.zero_bytes = disk_bytes;
    if (manifest.zero_bytes != 0) manifest.records = 1;
    const auto text = encode_manifest(manifest);
    EXPECT_TRUE(text);
    put(directory_.manifest_path(number), *text);
    put(directory_.table_path(number), "");
    put(directory_.data_path(number), "");
    return parse_manifest(*text)->sum;
  }

  std::string chain_error(std::uint64_t number) const {
    const auto chain = directory_.chain(number);
    return chain ? "" : chain.error().message();
  }

  BackupDirectory directory_;
};

TEST_F(BackupDirectoryTest, AChainBeginsWithItsFullPoint) {
  const Sha256 first = write_point(1, 0, {});
  write_point(2, 1, first);
  const Sha256 third = write_point(3, 1, first);
  write_point(4, 3, third);
  const auto chain = directory_.chain(4);
  ASSERT_TRUE(chain);
  ASSERT_EQ(chain->size(), 3u);
  EXPECT_EQ((*chain)[0].manifest.number, 1u);
  EXPECT_EQ((*chain)[1].manifest.number, 3u);
  EXPECT_EQ((*chain)[2].manifest.number, 4u);
}

TEST_F(BackupDirectoryTest, AMissingParentIsAHole) {
  write_point(3, 2, sha256_of("gone"));
  EXPECT_NE(chain_error(3).find("has a hole: point 000003 needs point 000002"), std::string::npos) << chain_error(3);
}

TEST_F(BackupDirectoryTest, AnotherPointInTheParentsPlaceIsRefused) {
  write_point(1, 0, {});
  write_point(2, 1, sha256_of("another"));
  EXPECT_NE(chain_error(2).find("is not the point that point 000002 is based on"), std::string::npos);
}

TEST_F(BackupDirectoryTest, AParentHasNoLargerDisk) {
  const Sha256 first = write_point(1, 0, {}, 4096);
  write_point(2, 1, first, 512);
  EXPECT_NE(chain_error(2).find("has a larger disk than point 000002"), std::string::npos) << chain_error(2);
}

TEST_F(BackupDirectoryTest, AManifestUnderAnotherNameIsRefused) {
  write_point(1, 0, {});
  ASSERT_TRUE(rename_file(directory_.manifest_path(1), directory_.manifest_path(2), false));
  EXPECT_NE(chain_error(2).find("is the manifest of point 000001"), std::string::npos) << chain_error(2);
}

TEST_F(BackupDirectoryTest, AChainHasALimit) {
  Sha256 sum = write_point(1, 0, {});
  for (std::uint64_t number = 2; number <= kChainPointsMax + 1; ++number) sum = write_point(number, number - 1, sum);
  EXPECT_EQ(chain_error(kChainPointsMax), "");
  EXPECT_NE(chain_error(kChainPointsMax + 1).find("has more than 1000 points"), std::string::npos);
}

TEST_F(BackupDirectoryTest, TheListHasOnlyManifestsInTheirOrder) {
  for (std::uint64_t number : {12u, 2u, 1'000'000u}) write_point(number, 0, {});
  for (const char* name : {"7.json", "000003.json.new", "000004.unfinished", "notes.json"}) {
    put(directory_.path() + "/" + name, "");
  }
  EXPECT_EQ(directory_.list().value(), (std::vector<std::uint64_t>{2, 12, 1'000'000}));
}

TEST_F(BackupDirectoryTest, FilesOfAnotherSizeAreRefused) {
  write_point(1, 0, {}, 4096);
  auto point = directory_.open(directory_.read(1).value());
  ASSERT_FALSE(point);
  EXPECT_NE(point.error().message().find("000001.chunks' has 0 bytes instead of 64"), std::string::npos)
      << point.error().message();
  write_point(2, 0, {});
  EXPECT_TRUE(directory_.open(directory_.read(2).value()));
  put(directory_.data_path(2), "x");
  EXPECT_FALSE(directory_.open(directory_.read(2).value()));
  ASSERT_TRUE(remove_file(directory_.data_path(2)));
  EXPECT_FALSE(directory_.open(directory_.read(2).value()));
}

TEST_F(BackupDirectoryTest, OnePullLocksIt) {
  const auto lock = directory_.lock();
  ASSERT_TRUE(lock);
  EXPECT_FALSE(directory_.lock());
}

}  // namespace
}  // namespace blockexport::backup
