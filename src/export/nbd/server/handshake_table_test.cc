// Which handshake is dropped when there are too many, against a plain model.
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

// A table and its connections, and what the rules in handshake_table.h say of them when they are taken word by word.
class Crowd {
 public:
  explicit Crowd(std::size_t places) : places_(places), table_(places) {}
  ~Crowd() {
    while (!members_.empty()) leave(0);
  }

  struct Member {
    std::uint64_t number;
    net::PeerGroup peer;
    std::unique_ptr<HandshakeTable::Place> place;
  };

  // One more comes at `now_ns`; who is dropped for it leaves at once. The number of the newcomer.
  std::uint64_t come(net::PeerGroup from, std::uint64_t now_ns) {
    if (table_.is_full()) drop(now_ns);
    auto place = std::make_unique<HandshakeTable::Place>(from, now_ns);
    table_.add(*place);
    members_.push_back({.number = ++last_number_, .peer = from, .place = std::move(place)});
    return last_number_;
  }
  void leave(std::size_t index) {
    table_.remove(*members_[index].place);
    members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(index));
  }
  void drop(std::uint64_t now_ns) {
    HandshakeTable::Place* chosen = table_.to_drop(now_ns);
    for (std::size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].place.get() == chosen) return leave(i);
    }
    FAIL() << "it is not there";
  }

  bool has(std::uint64_t number) const {
    return std::ranges::find(members_, number, &Member::number) != members_.end();
  }
  std::size_t count(net::PeerGroup of) const {
    return static_cast<std::size_t>(std::ranges::count(members_, of, &Member::peer));
  }
  std::size_t size() const { return members_.size(); }
  HandshakeTable& table() { return table_; }

  // The one to drop, found by looking at all.
  const HandshakeTable::Place* expected(std::uint64_t now_ns) const {
    const Member* of_most = nullptr;  // its peer has most
    const Member* of_old = nullptr;   // its peer has most of those whose oldest is not spared
    for (const Member& member : members_) {
      if (!is_oldest_of_its_peer(member)) continue;
      const bool is_spared = now_ns - member.place->since_ns() < kHandshakeSpareNs;
      if (of_most == nullptr || count(member.peer) > count(of_most->peer)) of_most = &member;
      if (!is_spared && (of_old == nullptr || count(member.peer) > count(of_old->peer))) of_old = &member;
    }
    if (of_most == nullptr) return nullptr;
    if (of_old == nullptr || count(of_most->peer) > places_ / 4) return of_most->place.get();
    return of_old->place.get();
  }

 private:
  bool is_oldest_of_its_peer(const Member& member) const {
    return &*std::ranges::find(members_, member.peer, &Member::peer) == &member;
  }

  std::size_t places_;
  HandshakeTable table_;
  std::uint64_t last_number_ = 0;
  std::deque<Member> members_;  // oldest first
};

TEST(HandshakeTable, DoesWhatItsRulesSay) {
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
      // A few peers come often, the others seldom.
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
  HandshakeTable::Place place(peer(1), 0);
  table.add(place);
  EXPECT_TRUE(table.is_full());
  table.remove(place);
  table.remove(place);
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

// Whoever comes has the time in which as many others come as there are places.
TEST(HandshakeTable, AmongManyPeersWithOneConnectionEachTheOldestGoes) {
  constexpr std::size_t kPlaces = 500;
  Crowd crowd(kPlaces);
  std::uint64_t now_ns = 0;
  std::uint64_t number = 1'000'000;
  auto attack = [&] { crowd.come(peer(--number), now_ns += kMillisecondNs); };
  for (std::size_t i = 0; i < 2 * kPlaces; ++i) attack();
  // Its number is the least of all, and the greatest.
  for (std::uint64_t good : {std::uint64_t{0}, std::uint64_t{2'000'000}}) {
    const std::uint64_t newcomer = crowd.come(peer(good), now_ns);
    for (std::size_t i = 0; i + 1 < kPlaces; ++i) attack();
    EXPECT_TRUE(crowd.has(newcomer));
    attack();
    EXPECT_FALSE(crowd.has(newcomer));
  }
}

// The good client has the same address as one that connects all the time, and others fill the table.
TEST(HandshakeTable, AClientIsSparedThatSharesItsAddressWithAFlood) {
  constexpr std::size_t kPlaces = 1000;
  Crowd crowd(kPlaces);
  std::uint64_t now_ns = 0;
  for (std::size_t i = 0; i < kPlaces; ++i) crowd.come(peer(100 + i), now_ns += kMillisecondNs);
  now_ns += kHandshakeSpareNs;
  const std::uint64_t newcomer = crowd.come(peer(1), now_ns);
  const std::uint64_t came_ns = now_ns;
  while (now_ns - came_ns < kHandshakeSpareNs) {
    EXPECT_TRUE(crowd.has(newcomer));
    crowd.come(peer(1), now_ns += 10 * kMillisecondNs);
  }
  // From then on it is the oldest of those that have most.
  crowd.come(peer(1), now_ns);
  EXPECT_FALSE(crowd.has(newcomer));
}

TEST(HandshakeTable, AClientThatConnectsFourTimesAtOnceKeepsAllOfThem) {
  constexpr std::size_t kPlaces = 1000;
  Crowd crowd(kPlaces);
  std::uint64_t now_ns = 0;
  std::uint64_t number = 100;
  for (std::size_t i = 0; i < kPlaces; ++i) crowd.come(peer(++number), now_ns += kMillisecondNs);
  now_ns += kHandshakeSpareNs;
  for (int i = 0; i < 4; ++i) crowd.come(peer(1), now_ns);
  for (int i = 0; i < 250; ++i) crowd.come(peer(++number), now_ns += kMillisecondNs);
  EXPECT_EQ(crowd.count(peer(1)), 4u);
}

// Its newcomers are spared no more once they are a quarter of all: those who take long over their handshake stay.
TEST(HandshakeTable, AFloodFromOneAddressPushesOutItselfOnly) {
  constexpr std::size_t kPlaces = 400;
  Crowd crowd(kPlaces);
  for (std::uint64_t i = 0; i < 100; ++i) crowd.come(peer(100 + i), 0);
  std::uint64_t now_ns = 2 * kHandshakeSpareNs;
  for (int i = 0; i < 5000; ++i) crowd.come(peer(1), now_ns += kMillisecondNs / 10);
  EXPECT_EQ(crowd.count(peer(1)), 300u);
  EXPECT_EQ(crowd.size(), kPlaces);
}

// A table as large as the server's: with a cost in proportion to its size this would take minutes.
TEST(HandshakeTable, HoldsManyThousands) {
  constexpr std::size_t kPlaces = 16384;
  std::deque<HandshakeTable::Place> places;
  HandshakeTable table(kPlaces);
  std::uint64_t now_ns = 0;
  for (std::uint64_t i = 0; i < 20 * kPlaces; ++i) {
    if (table.is_full()) {
      HandshakeTable::Place* dropped = table.to_drop(now_ns);
      ASSERT_EQ(dropped, &places.front());
      table.remove(*dropped);
      places.pop_front();
    }
    table.add(places.emplace_back(peer(i), now_ns += kMillisecondNs));
  }
  for (HandshakeTable::Place& place : places) table.remove(place);
}

}  // namespace
}  // namespace blockexport::nbd
