// ChangeListener: interface for observers of all changes of a node's bytes, such as dirty bitmaps or copy-before-write.
//
// The node calls its listeners on all paths that change bytes: writes by a task and inline, merged writes, zeroes,
// discards, growth and resizes. Listeners are added and removed while the node is quiesced (Node::add_listener).
// Thread: the reactor of the request, so calls may be concurrent.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "aio/task/task.h"
#include "base/errno.h"
#include "block/range.h"

namespace blockexport::aio {
class Reactor;
}

namespace blockexport::block {

enum class ChangeKind : std::uint8_t { kWrite, kZeroes, kDiscard, kResize };

// A change of bytes. The range is that of the request, aligned to the blocks of the driver, so that it may be larger
// than the request and end past the node's end; the driver changes nothing outside of it. Of a discard it changes whole
// blocks only, or none. A resize changes what it cuts off or adds.
struct Change {
  Range range;
  ChangeKind kind;
};

class ChangeListener {
 public:
  // Called before the bytes change. An error cancels the change, and becomes the error of the request. The first form
  // never waits: after EAGAIN the node calls the second one. Exactly one call of changed() or cancelled() with the same
  // change follows each success of either form.
  virtual IoResult try_before_change(aio::Reactor&, const Change&) { return {}; }
  virtual aio::Task<IoResult> before_change(Change change);
  // Called after the change, before the request completes; also after a failed change, which may have altered a part of
  // the range.
  virtual void changed(const Change&) {}
  // Called instead of changed() when a later listener has cancelled the change: no byte was altered.
  virtual void cancelled(const Change&) {}
  // The node has another size, and nothing is under way.
  virtual void resized(std::uint64_t /*before_bytes*/, std::uint64_t /*after_bytes*/) {}
  // The node has become larger while other requests are under way, on any reactor.
  virtual void grown(std::uint64_t before_bytes, std::uint64_t after_bytes) { resized(before_bytes, after_bytes); }

 protected:
  ~ChangeListener() = default;
};

// The listeners of one node, in the order in which they were added. Owned by the Node.
class ChangeListeners {
 public:
  bool empty() const { return listeners_.empty(); }
  void add(ChangeListener& listener) { listeners_.push_back(&listener); }
  void remove(ChangeListener& listener) { std::erase(listeners_, &listener); }

  // Each function calls the listeners in order. The first two stop at the first error, and tell the listeners that had
  // agreed.
  IoResult try_before_change(aio::Reactor& reactor, const Change& change) const;
  aio::Task<IoResult> before_change(Change change) const;
  void changed(const Change& change) const;
  void resized(std::uint64_t before_bytes, std::uint64_t after_bytes) const;
  void grown(std::uint64_t before_bytes, std::uint64_t after_bytes) const;

 private:
  // Tells the first `count` listeners.
  void cancelled(const Change& change, std::size_t count) const;

  std::vector<ChangeListener*> listeners_;
};

}  // namespace blockexport::block
