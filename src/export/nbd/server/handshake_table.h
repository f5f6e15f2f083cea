// HandshakeTable: the connections that are in their handshake, and which of them is dropped when there are too many.
//
// The peer that has most of them loses, and of its connections the oldest; of peers that have equally many the one
// whose oldest has been there longest. A connection younger than kHandshakeSpareNs is spared while there is an older
// one: else whoever shares an address with an attacker, or connects twice at a time, would be the one with most, and be
// gone before its next message. A peer with more than a quarter of all places is not spared, so that its flood pushes
// out its own connections and nobody else's. When all come from different addresses the oldest goes: each has the time
// in which as many newcomers arrive as there are places.
//
// Owned by the server; places belong to the connections. Thread: the control reactor. Each call costs O(log n).
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <set>

#include "base/intrusive_list.h"
#include "net/peer_group.h"

namespace blockexport::nbd {

// What a connection has for its handshake while others are there that have had more. A client far away, with TLS and an
// authorizer, needs about a second.
inline constexpr std::uint64_t kHandshakeSpareNs = 2'000'000'000;

class HandshakeTable {
  struct Share;
  struct ByAge;
  struct OfPeer;

 public:
  // Where one connection stands. It leaves the table before it dies.
  class Place : public ListLink<ByAge>, public ListLink<OfPeer> {
   public:
    // `since_ns`: when the handshake began.
    Place(net::PeerGroup peer, std::uint64_t since_ns) : peer_(peer), since_ns_(since_ns) {}
    std::uint64_t since_ns() const { return since_ns_; }

   private:
    friend class HandshakeTable;
    net::PeerGroup peer_;
    std::uint64_t since_ns_;
    std::uint64_t number_ = 0;  // in the order of coming
    Share* share_ = nullptr;    // null: not in the table
    bool is_spared_ = true;
  };

  // `places` is how many there are; at least 1. The table itself refuses nobody.
  explicit HandshakeTable(std::size_t places) : places_(places) {}
  ~HandshakeTable();
  HandshakeTable(const HandshakeTable&) = delete;
  HandshakeTable& operator=(const HandshakeTable&) = delete;

  std::size_t size() const { return size_; }
  bool is_full() const { return size_ >= places_; }

  // Adds the newest: its handshake began no earlier than any other's.
  void add(Place& place);
  // Has no effect on one that is not there.
  void remove(Place& place);

  // The one that came first; null when there is none.
  Place* oldest();
  // The one to drop at `now_ns` so that another may come; null when there is none. It stays in the table.
  Place* to_drop(std::uint64_t now_ns);

 private:
  // The first of all ranks is that of the peer that loses.
  struct Rank {
    bool is_spared;        // its oldest is
    std::size_t count;     // of its connections
    std::uint64_t oldest;  // its number
    Share* share;

    bool operator<(const Rank& other) const;
  };
  // What a peer has of the table.
  struct Share {
    IntrusiveList<Place, OfPeer> places;  // oldest first
    std::size_t count = 0;
    std::set<Rank>::iterator rank;
  };

  static Rank rank_of(Share& share);
  void rank_anew(Share& share);
  void spare_no_longer(std::uint64_t now_ns);

  std::size_t places_;
  std::size_t size_ = 0;
  std::uint64_t last_number_ = 0;
  IntrusiveList<Place, ByAge> old_;     // those that are not spared any longer, oldest first
  IntrusiveList<Place, ByAge> spared_;  // oldest first; all are younger than the ones above
  std::map<net::PeerGroup, Share> shares_;
  std::set<Rank> ranks_;
};

}  // namespace blockexport::nbd
