// HandshakeTable: the connections in their handshake, and the rule that chooses the one to drop when there are too
// many.
//
// The table chooses the peer with the most connections, and of these the oldest; of peers with equal numbers, the one
// whose oldest connection is older. A connection younger than kHandshakeSpareNs is spared while there is an older one:
// otherwise a client that shares an address with an attacker, or connects twice at a time, would belong to the peer
// with the most, and be dropped before its next message. A peer with more than a quarter of all slots is not spared, so
// that its flood displaces only its own connections. When all connections come from different addresses the oldest is
// dropped: each lives at least until as many newcomers have arrived as there are slots.
//
// Owned by the server; slots belong to the connections. Thread: the control reactor. Each call costs O(log n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

#include "base/intrusive_list.h"
#include "net/peer_group.h"

namespace blockexport::nbd {

// Minimum time for a connection's handshake while there are older ones. A remote client with TLS and an authorizer
// needs about a second.
inline constexpr std::uint64_t kHandshakeSpareNs = 2'000'000'000;

class HandshakeTable {
  struct Share;
  struct ByAge;
  struct OfPeer;

 public:
  // The slot of one connection. It leaves the table before it is destroyed.
  class Slot : public ListLink<ByAge>, public ListLink<OfPeer> {
   public:
    // `since_ns`: start of the handshake.
    Slot(net::PeerGroup peer, std::uint64_t since_ns) : peer_(peer), since_ns_(since_ns) {}
    std::uint64_t since_ns() const { return since_ns_; }

   private:
    friend class HandshakeTable;
    net::PeerGroup peer_;
    std::uint64_t since_ns_;
    std::uint64_t number_ = 0;  // in order of arrival
    Share* share_ = nullptr;    // null: not in the table
    bool is_spared_ = true;
  };

  // `slots` is the number of slots, at least 1. The table itself refuses no connection.
  explicit HandshakeTable(std::size_t slots) : slots_(slots) {}
  ~HandshakeTable();
  HandshakeTable(const HandshakeTable&) = delete;
  HandshakeTable& operator=(const HandshakeTable&) = delete;

  std::size_t size() const { return size_; }
  bool is_full() const { return size_ >= slots_; }
  std::size_t slots() const { return slots_; }
  // At least 1. Connections beyond the new number stay.
  void set_slots(std::size_t slots) { slots_ = slots; }

  // Adds the newest connection: its handshake began no earlier than any other's.
  void add(Slot& slot);
  // Does nothing for a slot that is not in the table.
  void remove(Slot& slot);

  // The oldest slot; null when the table is empty.
  Slot* oldest();
  // The slot to drop at `now_ns` to make space for a new one; null when the table is empty. It stays in the table.
  Slot* to_drop(std::uint64_t now_ns);

 private:
  // Sort key of a peer; the peer with the smallest one loses a connection.
  struct Rank {
    bool is_spared;        // whether its oldest connection is spared
    std::size_t count;     // its number of connections
    std::uint64_t oldest;  // number of its oldest connection
    Share* share;

    bool operator<(const Rank& other) const;
  };
  // The connections of one peer.
  struct Share {
    IntrusiveList<Slot, OfPeer> slots;  // oldest first
    std::size_t count = 0;
    std::set<Rank>::iterator rank;
  };

  static Rank rank_of(Share& share);
  void rank_anew(Share& share);
  void spare_no_longer(std::uint64_t now_ns);

  std::size_t slots_;
  std::size_t size_ = 0;
  std::uint64_t last_number_ = 0;
  IntrusiveList<Slot, ByAge> old_;     // those that are not spared any more, oldest first
  IntrusiveList<Slot, ByAge> spared_;  // oldest first; all are younger than those in old_
  std::map<net::PeerGroup, Share> shares_;
  std::set<Rank> ranks_;
};

}  // namespace blockexport::nbd
