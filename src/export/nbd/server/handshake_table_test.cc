// HandshakeTable: the choice of the connection to drop, compared with a plain model.
#include "export/nbd/server/handshake_table.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <deque>
#include <memory>
#include <random>

namespace blockexport::nbd {
namespace {

constexpr std::uint64_t kMillisecondNs = 1'000'000;

net::PeerGroup peer(std::uint64_t number) {
  return {.family = AF_INET, .number = number};
}

// A table and its connections, with a literal implementation of the rules in handshake_table.h.
class Crowd {
 public:
  explicit Crowd(std::size_t slots) : slots_(slots), table_(slots) {}
  ~Crowd() {
    while (!members_.empty()) leave(0);
  }

  struct Member {
    std::uint64_t number;
    net::PeerGroup peer;
    std::unique_ptr<HandshakeTable::Slot> slot;
  };

  // Adds a connection at `now_ns`; the connection that is dropped for it leaves at once. Returns the newcomer's number.
  std::uint64_t come(net::PeerGroup from, std::uint64_t now_ns) {
    if (table_.is_full()) drop(now_ns);
    auto slot = std::make_unique<HandshakeTable::Slot>(from, now_ns);
    table_.add(*slot);
    members_.push_back({.number = ++last_number_, .peer = from, .slot = std::move(slot)});
    return last_number_;
  }
  void leave(std::size_t index) {
    table_.remove(*members_[index].slot);
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void drop(std::uint64_t now_ns) {
    HandshakeTable::Slot* chosen = table_.to_drop(now_ns);
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].slot.get() == chosen) return leave(i);
    }
    FAIL() << "the table chose an unknown connection";
  }

  bool has(std::uint64_t number) const {
    return std::ranges::find(members_, number, &Member::number) != members_.end();
  }
  std::size_t count(net::PeerGroup of) const {
    return static_cast<std::size_t>(std::ranges::count(members_, of, &Member::peer));
  }
  std::size_t size() const { return members_.size(); }
  HandshakeTable& table() { return table_; }

  // The connection to drop, found by a search of all.
  const HandshakeTable::Slot* expected(std::uint64_t now_ns) const {
    const Member* of_most = nullptr;  // its peer has the most connections
    const Member* of_old = nullptr;   // the same, among peers whose oldest connection is not spared
    for (const Member& member : members_) {
      if (!is_oldest_of_its_peer(member)) continue;
      const bool is_spared = now_ns - member.slot->since_ns() < kHandshakeSpareNs;
      if (of_most == nullptr || count(member.peer) > count(of_most->peer)) of_most = &member;
      if (!is_spared && (of_old == nullptr || count(member.peer) > count(of_old->peer))) of_old = &member;
    }
    if (of_most == nullptr) return nullptr;
    if (of_old == nullptr || count(of_most->peer) > slots_ / 4) return of_most->slot.get();
    return of_old->slot.get();
  }

 private:
  bool is_oldest_of_its_peer(const Member& member) const {
    return &*std::ranges::find(members_, member.peer, &Member::peer) == &member;
  }

  std::size_t slots_;
  HandshakeTable table_;
  std::uint64_t last_number_ = 0;
  std::deque<Member> members_;  // oldest first
};

TEST(HandshakeTable, FollowsItsRules) {
  for (std::uint32_t seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    auto below = [&](std::uint64_t bound) {
      return std::uniform_int_distribution<std::uint64_t>(0, bound - 1)(random);
    };
    Crowd crowd(1 + below(40));
    const std::uint64_t peers = 1 + below(60);
    const std::uint64_t step_ns = kMillisecondNs << below(10);
    std::uint64_t now_ns = 0;
    for (int round = 0; round < 1500; ++round) {
      now_ns += below(step_ns);
      // A few peers connect often, the others rarely.
      const std::uint64_t from = below(3) == 0 ? below(peers) : below(1 + peers / 8);
      if (below(4) > 0 || crowd.size() == 0) {
        crowd.come(peer(from), now_ns);
      } else {
        crowd.leave(below(crowd.size()));
      }
      ASSERT_EQ(crowd.table().size(), crowd.size());
      ASSERT_EQ(crowd.table().to_drop(now_ns), crowd.expected(now_ns)) << "seed " << seed << " round " << round;
    }
  }
}

TEST(HandshakeTable, IsEmptyAtFirst) {
  HandshakeTable table(1);
  EXPECT_EQ(table.oldest(), nullptr);
  EXPECT_EQ(table.to_drop(1), nullptr);
  EXPECT_FALSE(table.is_full());
}

TEST(HandshakeTable, RemovingTwiceIsAllowed) {
  HandshakeTable table(1);
  HandshakeTable::Slot slot(peer(1), 0);
  table.add(slot);
  EXPECT_TRUE(table.is_full());
  table.remove(slot);
  table.remove(slot);
  EXPECT_EQ(table.size(), 0u);
}

TEST(HandshakeTable, ThePeerThatHasMostLosesItsOldest) {
  Crowd crowd(4);
  crowd.come(peer(1), 0);
  const std::uint64_t first = crowd.come(peer(2), 1);
  const std::uint64_t second = crowd.come(peer(2), 2);
  crowd.come(peer(3), 3);
  const std::uint64_t later_ns = 10 * kHandshakeSpareNs;
  crowd.come(peer(4), later_ns);
  EXPECT_FALSE(crowd.has(first));
  EXPECT_TRUE(crowd.has(second));
}

// Each connection lives at least until as many others have arrived as there are slots.
TEST(HandshakeTable, AmongManyPeersWithOneConnectionEachTheOldestGoes) {
  constexpr std::size_t kSlots = 500;
  Crowd crowd(kSlots);
  std::uint64_t now_ns = 0;
  std::uint64_t number = 1'000'000;
  auto attack = [&] { crowd.come(peer(--number), now_ns += kMillisecondNs); };
  for (std::size_t i = 0; i < 2 * kSlots; ++i) attack();
  // The newcomer's number is the smallest so far, and in the next round the greatest.
  for (std::uint64_t good : {std::uint64_t{0}, std::uint64_t{2'000'000}}) {
    const std::uint64_t newcomer = crowd.come(peer(good), now_ns);
    for (std::size_t i = 0; i + 1 < kSlots; ++i) attack();
    EXPECT_TRUE(crowd.has(newcomer));
    attack();
    EXPECT_FALSE(crowd.has(newcomer));
  }
}

// A good client shares the address of one that connects all the time, and other clients fill the table.
TEST(HandshakeTable, AClientIsSparedThatSharesItsAddressWithAFlood) {
  constexpr std::size_t kSlots = 1000;
  Crowd crowd(kSlots);
  std::uint64_t now_ns = 0;
  for (std::size_t i = 0; i < kSlots; ++i) crowd.come(peer(100 + i), now_ns += kMillisecondNs);
  now_ns += kHandshakeSpareNs;
  const std::uint64_t newcomer = crowd.come(peer(1), now_ns);
  const std::uint64_t came_ns = now_ns;
  while (now_ns - came_ns < kHandshakeSpareNs) {
    EXPECT_TRUE(crowd.has(newcomer));
    crowd.come(peer(1), now_ns += 10 * kMillisecondNs);
  }
  // From then on it is the oldest connection of the peer with the most.
  crowd.come(peer(1), now_ns);
  EXPECT_FALSE(crowd.has(newcomer));
}

TEST(HandshakeTable, AClientThatConnectsFourTimesAtOnceKeepsAllOfThem) {
  constexpr std::size_t kSlots = 1000;
  Crowd crowd(kSlots);
  std::uint64_t now_ns = 0;
  std::uint64_t number = 100;
  for (std::size_t i = 0; i < kSlots; ++i) crowd.come(peer(++number), now_ns += kMillisecondNs);
  now_ns += kHandshakeSpareNs;
  for (int i = 0; i < 4; ++i) crowd.come(peer(1), now_ns);
  for (int i = 0; i < 250; ++i) crowd.come(peer(++number), now_ns += kMillisecondNs);
  EXPECT_EQ(crowd.count(peer(1)), 4u);
}

// The flood's newcomers are not spared once they have a quarter of the slots: slow handshakes of other peers stay.
TEST(HandshakeTable, AFloodFromOneAddressPushesOutItselfOnly) {
  constexpr std::size_t kSlots = 400;
  Crowd crowd(kSlots);
  for (std::uint64_t i = 0; i < 100; ++i) crowd.come(peer(100 + i), 0);
  std::uint64_t now_ns = 2 * kHandshakeSpareNs;
  for (int i = 0; i < 5000; ++i) crowd.come(peer(1), now_ns += kMillisecondNs / 10);
  EXPECT_EQ(crowd.count(peer(1)), 300u);
  EXPECT_EQ(crowd.size(), kSlots);
}

// A table as large as the server's: with a cost proportional to its size this test would take minutes.
TEST(HandshakeTable, HoldsManyThousands) {
  constexpr std::size_t kSlots = 16384;
  std::deque<HandshakeTable::Slot> slots;
  HandshakeTable table(kSlots);
  std::uint64_t now_ns = 0;
  for (std::uint64_t i = 0; i < 20 * kSlots; ++i) {
    if (table.is_full()) {
      HandshakeTable::Slot* dropped = table.to_drop(now_ns);
      ASSERT_EQ(dropped, &slots.front());
      table.remove(*dropped);
      slots.pop_front();
    }
    table.add(slots.emplace_back(peer(i), now_ns += kMillisecondNs));
  }
  for (HandshakeTable::Slot& slot : slots) table.remove(slot);
}

}  // namespace
}  // namespace blockexport::nbd
