// Encrypted images in memory: made by create_image(), opened with a passphrase, and used by many writers at once.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>

#include "aio/testing/seeds.h"
#include "block/testing/memory_driver.h"
#include "block/testing/node_model.h"
#include "block/testing/reactor_test.h"
#include "drivers/qcow2/create/create_image.h"
#include "drivers/qcow2/qcow2_open.h"
#include "drivers/qcow2/testing/node_opener.h"

namespace blockexport::drivers::qcow2 {
namespace {

constexpr std::uint64_t kDiskBytes = 256u << 10;

class SteadyWork final : public block::LongWork {
 public:
  aio::Task<IoResult> pause_point() override { co_return IoResult(); }
  void expect(std::uint64_t) override {}
  void advance(std::uint64_t) override {}
};

class OneSecret final : public SecretSource {
 public:
  bool opens_locked_images() const override { return true; }
  explicit OneSecret(std::string_view text) : secret_(std::make_shared<const SecretBytes>(text)) {}
  Result<std::shared_ptr<const SecretBytes>> find_secret(const std::string& id) override {
    if (id != "sec0") return fail(fmt::format("No secret with id '{}'", id));
    return secret_;
  }

 private:
  std::shared_ptr<const SecretBytes> secret_;
};

struct EncryptedKind {
  std::string name;
  Creation creation;
};

std::vector<EncryptedKind> kinds() {
  std::vector<EncryptedKind> kinds = {
      {"small_clusters", {.cluster_bytes = 512}},
      {"usual_clusters", {.cluster_bytes = 65536}},
      {"subclusters", {.cluster_bytes = 16384, .extended_l2 = true}},
      {"version2", {.version = 2, .cluster_bytes = 4096}},
      {"cbc", {.cluster_bytes = 4096}},
  };
  for (EncryptedKind& kind : kinds) {
    kind.creation.size_bytes = kDiskBytes;
    kind.creation.encryption.emplace().iteration_time_ms = 1;
  }
  kinds.back().creation.encryption->cipher = {.algorithm = crypto::CipherAlgorithm::kAes128,
                                              .mode = crypto::CipherMode::kCbc,
                                              .iv = crypto::IvGenerator::kEssiv,
                                              .iv_hash = crypto::HashAlgorithm::kSha256};
  return kinds;
}

class Qcow2EncryptionTest : public block::ReactorTest, public testing::WithParamInterface<EncryptedKind> {
 protected:
  Qcow2EncryptionTest() { state_.grows = true; }

  Result<> create() {
    block::Edge edge(file_, {.name = "root"}, {});
    SteadyWork work;
    ImageFiles files{.file = &edge, .passphrase = std::make_shared<const SecretBytes>("key")};
    return run(create_image(GetParam().creation, std::move(files), work));
  }

  Result<std::unique_ptr<Qcow2Driver>> open(std::string_view passphrase, const char* id = "sec0",
                                            block::NodeOptions node_options = {}) {
    schema::BlockdevOptionsQcow2 options;
    options.file = schema::BlockdevRef("file");
    constexpr auto kLuks = static_cast<std::size_t>(schema::BlockdevQcow2EncryptionFormat::kLuks);
    options.encrypt.emplace().branch.emplace<kLuks>().key_secret = id;
    NodeOpener opener({&file_});
    OneSecret secret(passphrase);
    return run(open_qcow2(options, node_options, opener, {nullptr, nullptr}, &secret));
  }

  block::MemoryDriverState state_{0};
  block::Node file_{"file", std::make_unique<block::MemoryDriver>(state_)};
};

TEST_P(Qcow2EncryptionTest, OpensWithThePassphraseAlone) {
  ASSERT_TRUE(create());
  EXPECT_TRUE(open("key"));
  const auto wrong = open("other");
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().message(), "Invalid password, cannot unlock any keyslot");
  const auto missing = open("key", "sec1");
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message(), "No secret with id 'sec1'");
}

TEST_P(Qcow2EncryptionTest, ShowsItsHeaderWithoutAKeyAndGivesNoBytes) {
  ASSERT_TRUE(create());
  {
    auto opened = open("key");
    ASSERT_TRUE(opened);
    block::Node disk("disk", std::move(*opened));
    std::vector<std::byte> bytes(4096, std::byte{7});
    const iovec vector{bytes.data(), bytes.size()};
    ASSERT_TRUE(run(disk.write({0, 4096}, {&vector, 1}, {})));
    ASSERT_TRUE(run(disk.flush()));
  }
  schema::BlockdevOptionsQcow2 options;
  options.file = schema::BlockdevRef("file");
  NodeOpener opener({&file_});
  OneSecret secret("key");
  const block::NodeOptions node_options{.read_only = true};
  auto opened = run(open_qcow2(options, node_options, opener, {nullptr, nullptr}, &secret));
  ASSERT_TRUE(opened) << opened.error().message();
  block::Node disk("disk", std::move(*opened), node_options);
  schema::ImageInfo info;
  disk.driver().describe_image(info);
  EXPECT_TRUE(info.encrypted.value_or(false));
  std::vector<std::byte> bytes(4096);
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_EQ(run(disk.read({0, 4096}, {&vector, 1})), IoResult(fail(EACCES)));
}

TEST_P(Qcow2EncryptionTest, KeepsTheBytesOfManyWriters) {
  ASSERT_TRUE(create());
  for (std::uint64_t seed = 1; seed <= aio::testing::seeds_here(3); ++seed) {
    auto opened = open("key");
    ASSERT_TRUE(opened) << opened.error().message();
    block::Node disk("disk", std::move(*opened));
    EXPECT_EQ(disk.limits().request_alignment, 512u);
    state_.try_verbs = seed % 2 == 0;
    ASSERT_TRUE(run(disk.write_zeroes({0, kDiskBytes}, {})));
    std::vector<std::unique_ptr<block::NodeModel>> models;
    constexpr std::uint64_t kSliceBytes = 7777;
    for (std::uint64_t i = 0; i < 6; ++i) {
      models.push_back(
          std::make_unique<block::NodeModel>(disk, block::Range{i * kSliceBytes, kSliceBytes}, seed * 100 + i));
      start(models.back()->run(80));
    }
    until_idle();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
    ASSERT_TRUE(run(disk.flush()));
  }
}

TEST_P(Qcow2EncryptionTest, ShowsTheSameBytesWhenItIsOpenedAgain) {
  ASSERT_TRUE(create());
  std::vector<std::byte> written(kDiskBytes);
  for (std::size_t i = 0; i < written.size(); ++i) written[i] = static_cast<std::byte>(i * 31 + i / 700);
  {
    auto opened = open("key");
    ASSERT_TRUE(opened);
    block::Node disk("disk", std::move(*opened));
    for (std::uint64_t offset = 0; offset < kDiskBytes; offset += 50000) {
      const std::uint64_t length = std::min<std::uint64_t>(50000, kDiskBytes - offset);
      const iovec vector{written.data() + offset, length};
      ASSERT_TRUE(run(disk.write({offset, length}, block::IoBuffers(&vector, 1), {})));
    }
    ASSERT_TRUE(run(disk.flush()));
  }
  const std::span<const std::byte> pattern = std::span(written).subspan(100000, 64);
  EXPECT_TRUE(std::ranges::search(state_.bytes, pattern).empty());
  auto opened = open("key", "sec0", {.read_only = true});
  ASSERT_TRUE(opened);
  block::Node disk("disk", std::move(*opened), {.read_only = true});
  std::vector<std::byte> read(kDiskBytes);
  const iovec vector{read.data(), read.size()};
  ASSERT_TRUE(run(disk.read({0, kDiskBytes}, block::IoBuffers(&vector, 1))));
  EXPECT_EQ(read, written);
}

TEST_P(Qcow2EncryptionTest, RefusesCompressedWrites) {
  ASSERT_TRUE(create());
  auto opened = open("key");
  ASSERT_TRUE(opened);
  block::Node disk("disk", std::move(*opened));
  std::vector<std::byte> bytes(65536);
  const iovec vector{bytes.data(), bytes.size()};
  EXPECT_EQ(run(disk.write({0, bytes.size()}, block::IoBuffers(&vector, 1), {.compressed = true})),
            IoResult(fail(ENOTSUP)));
}

TEST_P(Qcow2EncryptionTest, TellsNoPlaceOfItsData) {
  ASSERT_TRUE(create());
  auto opened = open("key");
  ASSERT_TRUE(opened);
  block::Node disk("disk", std::move(*opened));
  std::vector<std::byte> bytes(65536, std::byte{1});
  const iovec vector{bytes.data(), bytes.size()};
  ASSERT_TRUE(run(disk.write({0, bytes.size()}, block::IoBuffers(&vector, 1), {})));
  const auto place = run(disk.driver().locate({0, bytes.size()}));
  ASSERT_TRUE(place);
  EXPECT_EQ(place->kind, block::DataPlaceKind::kData);
  EXPECT_EQ(place->node, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Kinds, Qcow2EncryptionTest, testing::ValuesIn(kinds()),
                         [](const testing::TestParamInfo<EncryptedKind>& info) { return info.param.name; });

}  // namespace
}  // namespace blockexport::drivers::qcow2
