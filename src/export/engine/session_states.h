// SessionStates: state table of a client's session, for any wire format: its phases, endings and waits, the legal
// transitions between them, and the cause of each.
//
// A session has two tasks, a reader of requests and a sender of replies, and one more task for each request that waits
// for storage. Each transition goes through a function here, which asserts that the table contains it. Owned by the
// session; thread: that of its reactor. A value that allocates nothing and never waits.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <iterator>
#include <utility>

namespace blockexport::exports {

// Phase of a session. Each follows the one above it, and none is skipped.
enum class Phase : std::uint8_t {
  kCreated,    // neither task has begun
  kServing,    // the reader receives requests and begins them
  kAnswering,  // the reader has ended: no request begins any more, and running ones are answered
  kDraining,   // every request has ended: the sender sends the remaining replies, and ends
  kEnded,      // both tasks and all requests have ended
};

// The reason for the end of a session. One that keeps the connection may be followed by one that cuts it.
enum class Ending : std::uint8_t {
  kOpen,  // no end yet: the reader continues
  // The client disconnected, closed its sending direction, or broke the protocol: its replies are still sent.
  kClientLeft,
  kFinishing,  // the server stops: replies are sent, and requests that have not begun are refused
  kSuspended,  // stopped between two requests: another session continues with the unread bytes and the unsent replies
  kLost,       // the connection failed, or the client was too slow: no more replies are sent
  kDropped,    // the export was removed by force, or the client disconnected: no more replies are sent
};

// The agent that causes an ending.
enum class EndingCause : std::uint8_t {
  kReader,      // the reader, because of the client's bytes
  kConnection,  // the reader, the sender or a watch: the connection failed, or a deadline has passed
  kServer,      // the control plane: it stops the server, or asks the reader to suspend the session
  kRemoval,     // the control plane: it removes the export by force, or disconnects the client
};

struct EndingTransition {
  Ending from;
  Ending to;
  EndingCause cause;

  friend bool operator==(const EndingTransition&, const EndingTransition&) = default;
};

// All legal transitions. An ending that cuts the connection is final, and a server that stops cannot change the ending
// of a client that has left.
inline constexpr EndingTransition kEndingTransitions[] = {
    {Ending::kOpen, Ending::kClientLeft, EndingCause::kReader},
    {Ending::kOpen, Ending::kFinishing, EndingCause::kServer},
    {Ending::kOpen, Ending::kSuspended, EndingCause::kServer},
    {Ending::kOpen, Ending::kLost, EndingCause::kConnection},
    {Ending::kOpen, Ending::kDropped, EndingCause::kRemoval},
    {Ending::kClientLeft, Ending::kLost, EndingCause::kConnection},
    {Ending::kClientLeft, Ending::kDropped, EndingCause::kRemoval},
    {Ending::kFinishing, Ending::kLost, EndingCause::kConnection},
    {Ending::kFinishing, Ending::kDropped, EndingCause::kRemoval},
    {Ending::kSuspended, Ending::kLost, EndingCause::kConnection},
    {Ending::kSuspended, Ending::kDropped, EndingCause::kRemoval},
};

// Wait of the reader before it checks its input again, and the agent that ends it. The reader waits for one thing at a
// time, only while the session is open and serving; the end of the connection also ends each of these waits.
enum class ReaderWait : std::uint8_t {
  kNone,          // the reader is running, or has ended
  kInput,         // more bytes: ended by the client
  kPayload,       // a part of the payload of a large write, or memory for it: the client, the memory budget
  kSharedBuffer,  // memory for small replies: the memory budget
  kMemory,        // memory for one request: the memory budget, or the timeout of this wait
  kSlot,          // a slot for one more request: a request that ends, or a file reply that was sent
  kFence,         // the end of a lost connection's writes: the requests of that connection
  kTurn,          // a turn for other connections: the reactor
};

// Wait of the sender, and the agent that ends it. The sender waits for one thing at a time, in any phase in which the
// session has tasks.
enum class SenderWait : std::uint8_t {
  kNone,     // the sender is running, or has ended
  kReplies,  // a reply to send: the reader, a request, or the end of the session
  kClient,   // the client must read: the client, or the deadline of a closing session
  kStorage,  // a part of a reply that is read when it is sent: the gate of the edge, the storage
  kTurn,     // a turn for other connections: the reactor
};

constexpr bool is_legal(Phase from, Phase to) {
  return static_cast<int>(to) == static_cast<int>(from) + 1;
}
constexpr bool is_legal(const EndingTransition& transition) {
  return std::ranges::find(kEndingTransitions, transition) != std::end(kEndingTransitions);
}
constexpr bool is_legal(ReaderWait wait, Phase phase, Ending ending) {
  return wait != ReaderWait::kNone && phase == Phase::kServing && ending == Ending::kOpen;
}
constexpr bool is_legal(SenderWait wait, Phase phase) {
  return wait != SenderWait::kNone && phase > Phase::kCreated && phase < Phase::kEnded;
}

class SessionStates {
 public:
  Phase phase() const { return phase_; }
  Ending ending() const { return ending_; }
  ReaderWait reader_wait() const { return reader_wait_; }
  SenderWait sender_wait() const { return sender_wait_; }

  // True if the connection was cut: nothing is received or sent any more.
  bool is_cut() const { return ending_ == Ending::kLost || ending_ == Ending::kDropped; }

  // Enters the next phase.
  void enter(Phase next) {
    assert(is_legal(phase_, next) && reader_wait_ == ReaderWait::kNone);
    assert(next != Phase::kEnded || sender_wait_ == SenderWait::kNone);
    phase_ = next;
  }
  void end(Ending reason, [[maybe_unused]] EndingCause cause) {
    assert(is_legal({ending_, reason, cause}));
    ending_ = reason;
  }

  // The reader begins a wait, and ends it.
  void begin_wait(ReaderWait wait) {
    assert(reader_wait_ == ReaderWait::kNone && is_legal(wait, phase_, ending_));
    reader_wait_ = wait;
  }
  void end_reader_wait() {
    assert(reader_wait_ != ReaderWait::kNone);
    reader_wait_ = ReaderWait::kNone;
  }
  // The sender begins a wait, and ends it.
  void begin_wait(SenderWait wait) {
    assert(sender_wait_ == SenderWait::kNone && is_legal(wait, phase_));
    sender_wait_ = wait;
  }
  void end_sender_wait() {
    assert(sender_wait_ != SenderWait::kNone);
    sender_wait_ = SenderWait::kNone;
  }

 private:
  Phase phase_ = Phase::kCreated;
  Ending ending_ = Ending::kOpen;
  ReaderWait reader_wait_ = ReaderWait::kNone;
  SenderWait sender_wait_ = SenderWait::kNone;
};

}  // namespace blockexport::exports
