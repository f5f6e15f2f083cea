// ChangeListener: what wants to know of every change of a node's bytes, such as a dirty bitmap or a copy before write.
//
// The node calls its listeners on all paths that alter bytes: writes by a task and at once, merged writes, zeroes,
// discards, growth and resizes. Listeners come and go while the node is quiesced (Node::add_listener). Thread: the
// reactor of whoever makes the change, so several at a time.
#pragma once

#include <cstdint>
#include <vector>

#include "aio/task.h"
#include "base/errno.h"
#include "block/range.h"

namespace blockexport::aio {
class Reactor;
}

namespace blockexport::block {

enum class ChangeKind : std::uint8_t { kWrite, kZeroes, kDiscard, kResize };

// A change of bytes. The range is what the driver is asked to change: aligned to its blocks, so that it may be larger
// than the request and end past the node's end. A resize changes what it cuts off or adds.
struct Change {
  Range range;
  ChangeKind kind;
};

class ChangeListener {
 public:
  // Before the bytes change. An error stops the change, and the request fails with it. The first form never waits:
  // EAGAIN sends the caller to the second one.
  virtual IoResult try_before_change(aio::Reactor&, const Change&) { return {}; }
  virtual aio::Task<IoResult> before_change(Change change);
  // After the change, and before its request is answered; also after a change that failed, which may have altered some
  // of the range. A change that a listener stopped, or that was tried at once in vain, may be followed by it or not.
  virtual void changed(const Change&) {}
  // The node has another size. Nothing is under way, unless the node has grown by a write.
  virtual void resized(std::uint64_t /*before_bytes*/, std::uint64_t /*after_bytes*/) {}

 protected:
  ~ChangeListener() = default;
};

// The listeners of one node, in the order of coming. Owned by the Node.
class ChangeListeners {
 public:
  bool empty() const { return listeners_.empty(); }
  void add(ChangeListener& listener) { listeners_.push_back(&listener); }
  void remove(ChangeListener& listener) { std::erase(listeners_, &listener); }

  // Each calls the listeners in order; the first two stop at the first error.
  IoResult try_before_change(aio::Reactor& reactor, const Change& change) const;
  aio::Task<IoResult> before_change(Change change) const;
  void changed(const Change& change) const;
  void resized(std::uint64_t before_bytes, std::uint64_t after_bytes) const;

 private:
  std::vector<ChangeListener*> listeners_;
};

}  // namespace blockexport::block
