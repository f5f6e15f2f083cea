// Changes of key slots in storage that may be cut at any write.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "block/testing/reactor_test.h"
#include "crypto/luks_volume.h"

namespace blockexport::drivers {
namespace {

using crypto::LuksChange;
using crypto::LuksHeader;
using crypto::LuksPlacement;
using crypto::Passphrase;

Passphrase secret(std::string_view text) {
  return std::make_shared<const SecretBytes>(text);
}

// Storage in memory, which keeps what happened to it.
class RecordedStorage final : public crypto::LuksStorage {
 public:
  struct Write {
    std::uint64_t offset;
    std::vector<std::byte> bytes;
  };

  explicit RecordedStorage(std::vector<std::byte> content) : content_(std::move(content)) {}

  aio::Task<IoResult> read(std::uint64_t offset, std::span<std::byte> bytes) override {
    if (offset + bytes.size() > content_.size()) co_return fail(EINVAL);
    std::memcpy(bytes.data(), content_.data() + offset, bytes.size());
    co_return IoResult();
  }
  aio::Task<IoResult> write(std::uint64_t offset, std::span<const std::byte> bytes) override {
    if (writes_.size() >= writes_max_) co_return fail(EIO);
    if (offset + bytes.size() > content_.size()) co_return fail(EINVAL);
    EXPECT_TRUE(is_flushed_) << "a write before the one before it is durable";
    is_flushed_ = false;
    writes_.push_back({offset, {bytes.begin(), bytes.end()}});
    std::memcpy(content_.data() + offset, bytes.data(), bytes.size());
    co_return IoResult();
  }
  aio::Task<IoResult> flush() override {
    is_flushed_ = true;
    co_return IoResult();
  }

  void fail_after(std::size_t writes) { writes_max_ = writes; }
  bool is_flushed() const { return is_flushed_; }
  const std::vector<Write>& writes() const { return writes_; }
  const std::vector<std::byte>& content() const { return content_; }

 private:
  std::vector<std::byte> content_;
  std::vector<Write> writes_;
  std::size_t writes_max_ = SIZE_MAX;
  bool is_flushed_ = true;
};

class LuksSlotsTest : public block::ReactorTest {
 protected:
  static constexpr std::size_t kAreaBytes = 2068480;

  // A disk that "one" opens, in slot 0.
  std::vector<std::byte> make_disk() {
    RecordedStorage storage{std::vector<std::byte>(kAreaBytes)};
    LuksHeader header = *crypto::make_luks_header({}, crypto::HashAlgorithm::kSha256, LuksPlacement::kBeforeData);
    auto made = run(crypto::create_luks(storage, std::move(header), secret("one"), 1));
    EXPECT_TRUE(made);
    EXPECT_TRUE(storage.is_flushed());
    return storage.content();
  }

  LuksHeader header_of(const std::vector<std::byte>& content) {
    RecordedStorage storage(content);
    auto header = run(crypto::read_luks_header(storage, LuksPlacement::kBeforeData));
    EXPECT_TRUE(header) << header.error().message();
    return header ? *header : LuksHeader();
  }

  bool opens(const std::vector<std::byte>& content, std::string_view passphrase) {
    RecordedStorage storage(content);
    auto header = run(crypto::read_luks_header(storage, LuksPlacement::kBeforeData));
    if (!header) return false;
    return run(crypto::unlock_luks(storage, *header, secret(passphrase))).has_value();
  }

  // The refusal of the change, or the new content in `content`.
  std::string change(std::vector<std::byte>& content, LuksChange change) {
    RecordedStorage storage(content);
    LuksHeader header = header_of(content);
    change.iteration_time_ms = 1;
    const Result<> done = run(crypto::change_luks_slots(storage, header, std::move(change)));
    content = storage.content();
    EXPECT_EQ(header, header_of(content));
    return done ? std::string() : done.error().message();
  }

  LuksChange adding(std::string_view passphrase, std::optional<std::int64_t> slot = std::nullopt) {
    return {.slot = slot, .current = secret("one"), .added = secret(passphrase)};
  }
  static LuksChange removing(std::optional<std::int64_t> slot, std::string_view passphrase = {}) {
    return {.activate = false, .slot = slot, .removed = passphrase.empty() ? nullptr : secret(passphrase)};
  }

  // Each state of the storage in which a cut may leave it, torn writes included.
  std::vector<std::vector<std::byte>> cuts(const std::vector<std::byte>& content, LuksChange change) {
    RecordedStorage storage(content);
    LuksHeader header = header_of(content);
    change.iteration_time_ms = 1;
    EXPECT_TRUE(run(crypto::change_luks_slots(storage, header, std::move(change))));
    EXPECT_TRUE(storage.is_flushed());
    std::vector<std::vector<std::byte>> states = {content};
    for (const RecordedStorage::Write& write : storage.writes()) {
      const std::vector<std::byte> before = states.back();
      for (std::size_t sectors : {std::size_t{1}, write.bytes.size() / 1024}) {
        std::vector<std::byte> torn = before;
        std::memcpy(torn.data() + write.offset, write.bytes.data(), std::min(sectors * 512, write.bytes.size()));
        states.push_back(torn);
      }
      std::vector<std::byte> after = before;
      std::memcpy(after.data() + write.offset, write.bytes.data(), write.bytes.size());
      states.push_back(after);
    }
    return states;
  }
};

TEST_F(LuksSlotsTest, OpensWithThePassphraseAlone) {
  const std::vector<std::byte> disk = make_disk();
  EXPECT_TRUE(opens(disk, "one"));
  EXPECT_FALSE(opens(disk, "two"));
  EXPECT_FALSE(opens(disk, ""));
}

TEST_F(LuksSlotsTest, AddsAndRemovesPassphrases) {
  std::vector<std::byte> disk = make_disk();
  EXPECT_EQ(change(disk, adding("two")), "");
  EXPECT_EQ(change(disk, adding("three", 5)), "");
  EXPECT_EQ(change(disk, adding("two", 6)), "");
  const LuksHeader header = header_of(disk);
  EXPECT_EQ(header.active_slots(), 4u);
  EXPECT_TRUE(header.slots[1].active && header.slots[5].active && header.slots[6].active);
  EXPECT_EQ(change(disk, removing({}, "two")), "");
  EXPECT_FALSE(opens(disk, "two"));
  EXPECT_TRUE(opens(disk, "three"));
  EXPECT_EQ(change(disk, removing(0)), "");
  EXPECT_FALSE(opens(disk, "one"));
  EXPECT_TRUE(opens(disk, "three"));
}

TEST_F(LuksSlotsTest, RefusesAsTheReferenceDoes) {
  std::vector<std::byte> disk = make_disk();
  EXPECT_EQ(change(disk, adding("two", 8)), "Invalid keyslot 8 specified, must be between 0 and 7");
  EXPECT_EQ(change(disk, removing(-1)), "Invalid keyslot -1 specified, must be between 0 and 7");
  EXPECT_EQ(change(disk, adding("two", 0)), "Refusing to overwrite active keyslot 0 - please erase it first");
  EXPECT_EQ(change(disk, removing(3)), "Given keyslot 3 is already erased (inactive) ");
  EXPECT_EQ(change(disk, removing(0)),
            "Attempt to erase the only active keyslot 0 which will erase all the data in the image irreversibly - "
            "refusing operation");
  EXPECT_EQ(change(disk, removing(0, "two")),
            "Given keyslot 0 doesn't contain the given old password for erase operation");
  EXPECT_EQ(change(disk, removing({}, "two")), "No keyslots match given (old) password for erase operation");
  EXPECT_EQ(change(disk, removing({}, "one")),
            "All the active keyslots match the (old) password that was given and erasing them will erase all the data "
            "in the image irreversibly - refusing operation");
  EXPECT_EQ(change(disk, {.activate = false}),
            "To erase keyslot(s), either explicit keyslot index or the password currently contained in them must be "
            "given");
  LuksChange wrong = adding("two");
  wrong.current = secret("other");
  EXPECT_EQ(change(disk, wrong), "Invalid password, cannot unlock any keyslot");
  for (int i = 0; i < 7; ++i) EXPECT_EQ(change(disk, adding("more")), "");
  EXPECT_EQ(change(disk, adding("more")), "Can't add a keyslot - all keyslots are in use");
  EXPECT_TRUE(opens(disk, "one"));
}

TEST_F(LuksSlotsTest, ErasesTheLastPassphraseByForce) {
  std::vector<std::byte> disk = make_disk();
  LuksChange forced = removing(0);
  forced.force = true;
  EXPECT_EQ(change(disk, forced), "");
  EXPECT_FALSE(opens(disk, "one"));
  EXPECT_EQ(header_of(disk).active_slots(), 0u);
}

TEST_F(LuksSlotsTest, OverwritesTheKeyMaterialOfARemovedPassphrase) {
  std::vector<std::byte> disk = make_disk();
  EXPECT_EQ(change(disk, adding("two")), "");
  const std::vector<std::byte> before = disk;
  EXPECT_EQ(change(disk, removing(0)), "");
  const std::size_t offset = header_of(disk).material_offset(0);
  std::size_t same = 0;
  for (std::size_t i = offset; i < offset + 256000; ++i) same += before[i] == disk[i] ? 1 : 0;
  EXPECT_LT(same, 3000u);
}

TEST_F(LuksSlotsTest, KeepsTheOldPassphraseWhenTheAdditionIsCut) {
  const std::vector<std::byte> disk = make_disk();
  // Slot 6 lies in two sectors of the header.
  for (const std::int64_t slot : {1, 5, 6, 7}) {
    const auto states = cuts(disk, adding("two", slot));
    for (const auto& state : states) EXPECT_TRUE(opens(state, "one")) << slot;
    EXPECT_FALSE(opens(states.front(), "two"));
    EXPECT_TRUE(opens(states.back(), "two"));
  }
}

TEST_F(LuksSlotsTest, OpensWithOneOfThemWhenAForcedOverwriteIsCut) {
  const std::vector<std::byte> disk = make_disk();
  LuksChange forced = adding("two", 0);
  forced.force = true;
  const auto states = cuts(disk, forced);
  EXPECT_GT(states.size(), 12u);
  for (const auto& state : states) EXPECT_TRUE(opens(state, "one") || opens(state, "two"));
  EXPECT_FALSE(opens(states.back(), "one"));
  EXPECT_TRUE(opens(states.back(), "two"));
  EXPECT_EQ(header_of(states.back()).active_slots(), 1u);
}

TEST_F(LuksSlotsTest, HoldsTheOldStateOrTheNewOneWhenARemovalIsCut) {
  std::vector<std::byte> disk = make_disk();
  EXPECT_EQ(change(disk, adding("two", 6)), "");
  for (const auto& state : cuts(disk, removing(6))) {
    EXPECT_TRUE(opens(state, "one"));
    const unsigned active = header_of(state).active_slots();
    EXPECT_EQ(opens(state, "two"), active == 2);
  }
}

TEST_F(LuksSlotsTest, KeepsAPassphraseWhenAnyWriteFails) {
  const std::vector<std::byte> disk = make_disk();
  LuksChange forced = adding("two", 0);
  forced.force = true;
  for (std::size_t writes = 0;; ++writes) {
    ASSERT_LT(writes, 20u);
    RecordedStorage storage(disk);
    storage.fail_after(writes);
    LuksHeader header = header_of(disk);
    LuksChange copy = forced;
    copy.iteration_time_ms = 1;
    const Result<> done = run(crypto::change_luks_slots(storage, header, std::move(copy)));
    EXPECT_TRUE(opens(storage.content(), "one") || opens(storage.content(), "two")) << writes;
    if (done) break;
    EXPECT_TRUE(done.error().message().contains("Could not write encryption header: Input/output error"))
        << done.error().message();
  }
}

}  // namespace
}  // namespace blockexport::drivers
