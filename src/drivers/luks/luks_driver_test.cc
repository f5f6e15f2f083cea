#include "drivers/luks/luks_driver.h"

#include <random>

#include "aio/testing/seeds.h"
#include "block/testing/memory_driver.h"
#include "block/testing/node_model.h"
#include "block/testing/reactor_test.h"
#include "drivers/encryption/node_luks_storage.h"
#include "schema/block_node_info.h"

namespace blockexport::drivers {
namespace {

using block::Edge;
using block::MemoryDriver;
using block::MemoryDriverState;
using block::Node;
using block::Permissions;

constexpr std::uint64_t kPayload = 2068480;
constexpr std::uint64_t kDiskBytes = 256u << 10;

crypto::Passphrase secret(std::string_view text) {
  return std::make_shared<const SecretBytes>(text);
}

class LuksDriverTest : public block::ReactorTest {
 protected:
  // Makes a disk in `file_`, with its header in `header_node`.
  void make_disk(Node& header_node, crypto::LuksPlacement placement) {
    NodeLuksStorage storage(header_node, 0);
    crypto::LuksHeader header = *crypto::make_luks_header({}, crypto::HashAlgorithm::kSha256, placement);
    ASSERT_TRUE(run(crypto::create_luks(storage, std::move(header), secret("key"), 1)));
  }
  static std::unique_ptr<Edge> edge_to(Node& node, const char* name) {
    return std::make_unique<Edge>(node, block::EdgeParent{.name = name}, Permissions{});
  }
  Result<std::unique_ptr<LuksDriver>> open(std::string_view passphrase = "key", Node* header = nullptr) {
    LuksDriver::Children children{.file = edge_to(file_, "file"), .header = nullptr};
    if (header != nullptr) children.header = edge_to(*header, "header");
    return run(LuksDriver::open(std::move(children), secret(passphrase), "sec0"));
  }
  std::unique_ptr<Node> node() {
    auto driver = open();
    EXPECT_TRUE(driver);
    return driver ? std::make_unique<Node>("disk", std::move(*driver)) : nullptr;
  }

  MemoryDriverState state_{kPayload + kDiskBytes};
  Node file_{"file", std::make_unique<MemoryDriver>(state_)};
};

TEST_F(LuksDriverTest, ShowsWhatIsBehindTheHeader) {
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  auto disk = node();
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(disk->size_bytes(), kDiskBytes);
  EXPECT_EQ(disk->driver().format_name(), "luks");
  EXPECT_EQ(disk->limits().request_alignment, 512u);
  EXPECT_FALSE(disk->driver().can_discard());
  block::Extents extents;
  EXPECT_TRUE(run(disk->extents({100, 5000}, extents)));
  EXPECT_EQ(extents, (block::Extents{{.length = 5000, .data = true}}));
}

TEST_F(LuksDriverTest, RefusesAWrongPassphraseAndOtherContent) {
  auto opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message(), "Volume is not in LUKS format");
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  opened = open("other");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message(), "Invalid password, cannot unlock any keyslot");
  state_.error = EIO;
  opened = open();
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().message(), "Could not read encryption header: Input/output error");
}

TEST_F(LuksDriverTest, ReadsAndWritesAnyBytesWithManyAtOnce) {
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  auto disk = node();
  ASSERT_NE(disk, nullptr);
  for (std::uint64_t seed = 1; seed <= aio::testing::seeds_here(4); ++seed) {
    state_.try_verbs = seed % 2 == 0;
    ASSERT_TRUE(run(disk->write_zeroes({0, kDiskBytes}, {})));
    std::vector<std::unique_ptr<block::NodeModel>> models;
    constexpr std::uint64_t kSlices = 5;
    for (std::uint64_t i = 0; i < kSlices; ++i) {
      const std::uint64_t begin = i * 3333;
      models.push_back(std::make_unique<block::NodeModel>(*disk, block::Range{begin, 3333}, seed * 100 + i));
      start(models.back()->run(150));
    }
    until_idle();
    ASSERT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST_F(LuksDriverTest, ShowsItsHeaderWithoutAKeyAndGivesNoBytes) {
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  auto opened = run(LuksDriver::open({.file = edge_to(file_, "file"), .header = nullptr}, nullptr, ""));
  ASSERT_TRUE(opened) << opened.error().message();
  Node disk("disk", std::move(*opened));
  EXPECT_EQ(disk.size_bytes(), kDiskBytes);
  schema::ImageInfo info;
  disk.driver().describe_image(info);
  EXPECT_TRUE(info.encrypted.value_or(false));
  EXPECT_TRUE(info.format_specific.has_value());
  const std::vector<std::byte> before = state_.bytes;
  std::vector<std::byte> bytes(1024);
  const iovec vector{bytes.data(), bytes.size()};
  for (const bool tries : {false, true}) {
    state_.try_verbs = tries;
    EXPECT_EQ(run(disk.read({512, 1024}, {&vector, 1})), IoResult(fail(EACCES)));
    EXPECT_EQ(run(disk.write({512, 1024}, {&vector, 1}, {})), IoResult(fail(EACCES)));
    EXPECT_EQ(run(disk.write({100, 1024}, {&vector, 1}, {})), IoResult(fail(EACCES)));
    EXPECT_EQ(run(disk.write_zeroes({512, 1024}, {})), IoResult(fail(EACCES)));
    EXPECT_FALSE(disk.try_read(reactor(), {512, 1024}, {&vector, 1}));
    EXPECT_FALSE(disk.try_write(reactor(), {512, 1024}, {&vector, 1}));
  }
  EXPECT_EQ(state_.bytes, before);
}

TEST_F(LuksDriverTest, RefusesZeroesThatMustNotBeWritten) {
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  auto disk = node();
  ASSERT_NE(disk, nullptr);
  EXPECT_EQ(run(disk->write_zeroes({0, 4096}, {.no_fallback = true})), IoResult(fail(ENOTSUP)));
}

TEST_F(LuksDriverTest, HasItsHeaderInANodeOfItsOwn) {
  MemoryDriverState header_state(kPayload);
  Node header("header", std::make_unique<MemoryDriver>(header_state));
  make_disk(header, crypto::LuksPlacement::kDetached);
  auto opened = open("key", &header);
  ASSERT_TRUE(opened) << opened.error().message();
  EXPECT_EQ((*opened)->size_bytes(), kPayload + kDiskBytes);
  EXPECT_EQ((*opened)->children().size(), 2u);
  schema::ImageInfo info;
  (*opened)->describe_image(info);
  EXPECT_TRUE(info.encrypted.value_or(false));
  const auto& luks =
      std::get<static_cast<std::size_t>(schema::ImageInfoSpecificKind::kLuks)>(info.format_specific->branch).data;
  EXPECT_TRUE(luks.detached_header);
  EXPECT_EQ(luks.payload_offset, 0);
  ASSERT_EQ(luks.slots.size(), 8u);
  EXPECT_TRUE(luks.slots[0].active && luks.slots[0].iters && !luks.slots[1].iters);
}

TEST_F(LuksDriverTest, ChangesItsSizeWithThatOfTheFile) {
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  auto opened = open();
  ASSERT_TRUE(opened);
  EXPECT_TRUE(run((*opened)->resize(1000 * 512)));
  EXPECT_EQ(state_.bytes.size(), kPayload + 1000 * 512);
  EXPECT_EQ((*opened)->size_bytes(), 1000u * 512);
  state_.bytes.resize(kPayload + 1000);
  EXPECT_EQ((*opened)->size_bytes(), 512u);
  state_.bytes.resize(kPayload - 1);
  EXPECT_EQ((*opened)->size_bytes(), 0u);
}

// The header, the first key material and the size of the file are any bytes.
TEST_F(LuksDriverTest, OpensHostileHeadersOrRefusesThem) {
  make_disk(file_, crypto::LuksPlacement::kBeforeData);
  const std::vector<std::byte> image = state_.bytes;
  std::minstd_rand random(3);
  int refused = 0;
  constexpr int kRounds = 300;
  for (int round = 0; round < kRounds; ++round) {
    state_.bytes = image;
    for (unsigned changes = 1 + random() % 4; changes > 0; --changes) {
      // The iterations stay, so that the test does not take long.
      std::size_t at = random() % crypto::kLuksHeaderBytes;
      while ((at >= 164 && at < 168) || (at >= 208 && (at - 208) % 48 >= 4 && (at - 208) % 48 < 8)) {
        at = random() % crypto::kLuksHeaderBytes;
      }
      state_.bytes[at] = static_cast<std::byte>(random());
    }
    if (random() % 4 == 0) state_.bytes.resize(random() % state_.bytes.size());
    const auto opened = open();
    if (!opened) {
      ++refused;
      EXPECT_FALSE(opened.error().message().empty());
    } else {
      EXPECT_LE((*opened)->size_bytes(), state_.bytes.size());
    }
  }
  EXPECT_GT(refused, kRounds / 2);
}

}  // namespace
}  // namespace blockexport::drivers
