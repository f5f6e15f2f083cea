// SessionStates: the state table of a client's session, whatever its wire format: the phases, endings and waits that
// exist, which transitions between them are legal, and who may cause each one.
//
// A session has two tasks, a reader of requests and a sender of replies, and one task more for each request that waits
// for storage. Each transition goes through a function here, which asserts that the table has it. Owned by the session;
// thread: its reactor's. A value that allocates nothing and never waits.
#pragma once

#include <algorithm>
#include <cassert>
#include <cstdint>
#include <iterator>
#include <utility>

namespace blockexport::exports {

// How far the session has come. Each phase follows the one above it; none is left out.
enum class Phase : std::uint8_t {
  kCreated,    // neither task has begun
  kServing,    // the reader takes requests and begins them
  kAnswering,  // the reader has ended: no request begins any longer, those that have begun are answered
  kDraining,   // every request has ended: the sender sends the replies that are left, and ends
  kEnded,      // both tasks and all requests have ended
};

// Why the session ends. A reason that does not cut the connection may be followed by one that does.
enum class Ending : std::uint8_t {
  kOpen,        // it does not end: the reader goes on
  kClientLeft,  // the client said so, closed its sending direction, or broke the protocol: its replies are still sent
  kFinishing,   // the server stops: its replies are sent, requests that have not begun are refused
  kSuspended,   // it stopped between two requests: what is not read and not sent is for another session to go on with
  kLost,        // the connection is gone, or the client was too slow: no reply is sent any longer
  kDropped,     // the export was taken away at once: no reply is sent any longer
};

// Who causes an ending.
enum class EndingCause : std::uint8_t {
  kReader,      // the reader, by what the client sent
  kConnection,  // the reader, the sender or a watch: the connection failed, or a deadline has passed
  kServer,      // the control plane: it stops a server, or suspends a session, which the reader then does
  kRemoval,     // the control plane, for all clients of an export
};

struct EndingTransition {
  Ending from;
  Ending to;
  EndingCause cause;

  friend bool operator==(const EndingTransition&, const EndingTransition&) = default;
};

// Every legal one. An ending that cuts the connection is final, and a server that stops has no say once a client has
// left.
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

// What the reader waits for before it looks at its input again, and who ends the wait. It waits for one thing at a
// time, only while the session is open and serving; each of these waits also ends with the connection.
enum class ReaderWait : std::uint8_t {
  kNone,          // it is at work, or has ended
  kInput,         // bytes: the client
  kPayload,       // a part of the payload of a large write, or memory for it: the client, the memory budget
  kSharedBuffer,  // memory for small replies: the memory budget
  kMemory,        // memory for one request: the memory budget, or the end of its patience
  kSlot,          // a slot for one more request: a request that ends, or a file reply that is sent
  kFence,         // the writes of a lost connection to end: the requests of that connection
  kTurn,          // a turn for other connections: the reactor
};

// What the sender waits for, and who ends the wait. It waits for one thing at a time, from the first phase with tasks
// to the last.
enum class SenderWait : std::uint8_t {
  kNone,     // it is at work, or has ended
  kReplies,  // a reply to send: the reader, a request, or the end of the session
  kClient,   // the client to read: the client, or the deadline of a closing session
  kStorage,  // a part of a reply that is read as it is sent: the gate of the edge, the storage
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

  // Whether the connection was cut: nothing is received or sent any longer.
  bool is_cut() const { return ending_ == Ending::kLost || ending_ == Ending::kDropped; }

  // The session enters its next phase.
  void enter(Phase next) {
    assert(is_legal(phase_, next) && reader_wait_ == ReaderWait::kNone);
    assert(next != Phase::kEnded || sender_wait_ == SenderWait::kNone);
    phase_ = next;
  }
  void end(Ending reason, [[maybe_unused]] EndingCause cause) {
    assert(is_legal({ending_, reason, cause}));
    ending_ = reason;
  }

  // The reader begins to wait, and goes on.
  void begin_wait(ReaderWait wait) {
    assert(reader_wait_ == ReaderWait::kNone && is_legal(wait, phase_, ending_));
    reader_wait_ = wait;
  }
  void end_reader_wait() {
    assert(reader_wait_ != ReaderWait::kNone);
    reader_wait_ = ReaderWait::kNone;
  }
  // The same for the sender.
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
