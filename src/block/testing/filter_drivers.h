// Filters for tests, each with one ability that drivers of stateful storage need: a child that grows, background I/O, a
// home reactor, notification before changes, an older state for its readers, a slow opening.
//
// Each checks that the graph keeps the guarantees of block/driver.h. Thread: that of a driver. Not part of the daemon.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "aio/sync/scope.h"
#include "aio/task/current.h"
#include "aio/threads/data_reactor.h"
#include "block/buffers.h"
#include "block/change_listener.h"
#include "block/driver.h"
#include "block/edge.h"
#include "block/node.h"
#include "block/range_lock.h"

namespace blockexport::block {

// Counts the requests inside a driver, and fails the test if one begins while it is quiesced.
class QuiesceCheck {
 public:
  class Request {
   public:
    explicit Request(QuiesceCheck& check) : check_(check) {
      EXPECT_FALSE(check.quiesced_.load()) << "a request while the driver is quiesced";
      check.under_way_.fetch_add(1);
    }
    ~Request() { check_.under_way_.fetch_sub(1); }
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;

   private:
    QuiesceCheck& check_;
  };

  void quiesce() {
    EXPECT_EQ(under_way_.load(), 0) << "a driver is quiesced with requests under way";
    EXPECT_FALSE(quiesced_.exchange(true));
  }
  void resume() { EXPECT_TRUE(quiesced_.exchange(false)); }

 private:
  std::atomic<int> under_way_ = 0;
  std::atomic<bool> quiesced_ = true;  // as in a driver that was just opened
};

// A store in memory, which can grow. Requests take a turn or two, and may overlap on several threads, as on a disk.
class Store final : public LiveDriver {
 public:
  // More than any test needs, so that growing moves no bytes that another request uses.
  static constexpr std::size_t kBytesMax = 256u << 10;

  explicit Store(std::uint64_t size_bytes) : bytes_(kBytesMax), size_bytes_(size_bytes) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    QuiesceCheck::Request request(check_);
    co_await aio::next_turn();
    load(range, buffers);
    co_return IoResult();
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions) override {
    QuiesceCheck::Request request(check_);
    store(range, buffers);
    co_await aio::next_turn();
    raise_size(range.end());
    co_return IoResult();
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions) override {
    QuiesceCheck::Request request(check_);
    clear(range);
    co_await aio::next_turn();
    raise_size(range.end());
    co_return IoResult();
  }
  aio::Task<IoResult> discard(Range range) override { return write_zeroes(range, {}); }
  aio::Task<IoResult> flush() override { co_return IoResult(); }
  aio::Task<IoResult> extents(Range range, Extents& extents) override {
    extents.push_back({.length = range.length, .data = true});
    co_return IoResult();
  }
  aio::Task<IoResult> prefetch(Range) override { co_return IoResult(); }
  IoResult try_read(aio::Reactor&, Range range, IoBuffers buffers, InlineHints&) override {
    QuiesceCheck::Request request(check_);
    load(range, buffers);
    return {};
  }
  IoResult try_write(aio::Reactor&, Range range, IoBuffers buffers, InlineHints&) override {
    QuiesceCheck::Request request(check_);
    store(range, buffers);
    return {};
  }
  aio::Task<Result<>> resize(std::uint64_t size_bytes) override {
    EXPECT_LE(size_bytes, kBytesMax);
    size_bytes_ = size_bytes;
    co_return Result<>();
  }
  bool can_grow() const override { return true; }
  aio::Task<IoResult> grow(std::uint64_t size_bytes) override {
    raise_size(size_bytes);
    co_return IoResult();
  }
  aio::Task<void> quiesce() override {
    check_.quiesce();
    co_return;
  }
  void resume() override { check_.resume(); }
  std::uint64_t size_bytes() const override { return size_bytes_.load(); }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "store"; }

  // The runs of zeros and of other bytes in the range.
  void append_runs(Range range, Extents& extents) {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::span<const std::byte> bytes = part(range);
    for (std::size_t begin = 0; begin < bytes.size();) {
      const bool is_zero = bytes[begin] == std::byte{0};
      std::size_t end = begin + 1;
      while (end < bytes.size() && (bytes[end] == std::byte{0}) == is_zero) ++end;
      extents.push_back({.length = end - begin, .data = !is_zero, .zero = is_zero});
      begin = end;
    }
  }
  // While no request is under way.
  std::span<const std::byte> bytes() const { return std::span(bytes_).first(size_bytes()); }

 private:
  void load(Range range, IoBuffers buffers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    copy_in(buffers, 0, part(range));
  }
  void store(Range range, IoBuffers buffers) {
    const std::lock_guard<std::mutex> lock(mutex_);
    copy_out(buffers, 0, part(range));
  }
  void clear(Range range) {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::ranges::fill(part(range), std::byte{0});
  }
  std::span<std::byte> part(Range range) { return std::span(bytes_).subspan(range.offset, range.length); }
  void raise_size(std::uint64_t end) {
    std::uint64_t seen = size_bytes_.load();
    while (seen < end && !size_bytes_.compare_exchange_weak(seen, end)) {
    }
  }

  QuiesceCheck check_;
  std::mutex mutex_;  // held for each access to bytes_
  std::vector<std::byte> bytes_;
  std::atomic<std::uint64_t> size_bytes_;
};

// Forwards the verbs to the child "file"; the base of the others.
class Filter : public Driver {
 public:
  explicit Filter(std::unique_ptr<Edge> file) : file_(std::move(file)) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    QuiesceCheck::Request request(check_);
    co_return co_await file().read(range, buffers);
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    QuiesceCheck::Request request(check_);
    co_return co_await file().write(range, buffers, options);
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) override {
    QuiesceCheck::Request request(check_);
    co_return co_await file().write_zeroes(range, options);
  }
  aio::Task<IoResult> discard(Range range) override { return file().discard(range); }
  aio::Task<IoResult> flush() override { return file().flush(); }
  aio::Task<IoResult> extents(Range range, Extents& extents) override { return file().extents(range, extents); }
  aio::Task<IoResult> prefetch(Range range) override { return file().prefetch(range); }
  aio::Task<void> quiesce() override {
    check_.quiesce();
    co_return;
  }
  void resume() override { check_.resume(); }
  std::uint64_t size_bytes() const override { return file().size_bytes(); }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "filter"; }
  std::vector<Edge*> children() const override { return {file_.get()}; }

 protected:
  Node& file() const { return file_->node(); }

 private:
  QuiesceCheck check_;
  std::unique_ptr<Edge> file_;
};

// Forwards everything to the child "file", at once where that can, and can be reopened with another child.
class ReopenableFilter final : public LiveDriver {
 public:
  explicit ReopenableFilter(std::unique_ptr<Edge> file) : file_(std::move(file)) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override { return file().read(range, buffers); }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    return file().write(range, buffers, options);
  }
  aio::Task<IoResult> write_zeroes(Range range, ZeroOptions options) override {
    return file().write_zeroes(range, options);
  }
  aio::Task<IoResult> discard(Range range) override { return file().discard(range); }
  aio::Task<IoResult> flush() override { return file().flush(); }
  aio::Task<IoResult> extents(Range range, Extents& extents) override { return file().extents(range, extents); }
  aio::Task<IoResult> prefetch(Range range) override { return file().prefetch(range); }
  IoResult try_read(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) override {
    return file().try_read(reactor, range, buffers, hints);
  }
  IoResult try_write(aio::Reactor& reactor, Range range, IoBuffers buffers, InlineHints& hints) override {
    return file().try_write(reactor, range, buffers, hints);
  }
  std::uint64_t size_bytes() const override { return file().size_bytes(); }
  Limits limits() const override { return {}; }
  std::string_view format_name() const override { return "reopenable filter"; }
  std::vector<Edge*> children() const override { return {file_.get()}; }
  aio::Task<Result<>> prepare_reopen(const schema::BlockdevOptions&, const schema::BlockdevOptions&, NodeOptions&,
                                     ReopenChildren&) override {
    co_return Result<>();
  }

 private:
  Node& file() const { return file_->node(); }

  std::unique_ptr<Edge> file_;
};

// Appends a copy of every write to the child "log", which grows, on the reactor of the write.
class LoggingFilter final : public Filter {
 public:
  static constexpr std::uint64_t kLogBytes = 128u << 10;

  // `logged_bytes`: sum over all writes; outlives the filter.
  LoggingFilter(std::unique_ptr<Edge> file, std::unique_ptr<Edge> log, std::atomic<std::uint64_t>& logged_bytes)
      : Filter(std::move(file)), log_(std::move(log)), logged_bytes_(logged_bytes) {}

  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    CO_TRY(co_await Filter::write(range, buffers, options));
    // The log starts again at its beginning when it is long.
    const std::uint64_t at = logged_bytes_.fetch_add(range.length) % kLogBytes;
    EXPECT_TRUE(log_->permissions().used.has(Permission::kResize));
    CO_TRY(co_await log_->node().write({at, range.length}, buffers, {.may_grow = true}));
    EXPECT_GE(log_->node().size_bytes(), at + range.length);
    co_return IoResult();
  }
  std::vector<Edge*> children() const override {
    std::vector<Edge*> all = Filter::children();
    all.push_back(log_.get());
    return all;
  }
  Permissions child_permissions(const Edge& child, const Permissions& own, bool) const override {
    if (&child != log_.get()) return own;
    return {.used = Permission::kWrite | Permission::kResize, .shared = PermissionSet::all()};
  }

 private:
  std::unique_ptr<Edge> log_;
  std::atomic<std::uint64_t>& logged_bytes_;
};

// Reads and writes back one block after the other in the background, from resume() until quiesce().
class ScrubbingFilter final : public Filter {
 public:
  static constexpr std::uint64_t kBlockBytes = 1024;

  ScrubbingFilter(aio::Reactor& reactor, std::unique_ptr<Edge> file)
      : Filter(std::move(file)), reactor_(reactor), scope_(reactor) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    RangeLock::Hold hold(blocks_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
    co_await hold.acquire();
    co_return co_await Filter::read(range, buffers);
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    RangeLock::Hold hold(blocks_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
    co_await hold.acquire();
    co_return co_await Filter::write(range, buffers, options);
  }
  aio::Task<void> quiesce() override {
    stop_ = true;
    co_await scope_.join();
    co_await Filter::quiesce();
  }
  void resume() override {
    Filter::resume();
    stop_ = false;
    scope_.spawn("scrub", scrub());
  }
  Permissions child_permissions(const Edge&, const Permissions& own, bool) const override {
    Permissions needed = own;
    needed.used = needed.used | Permission::kConsistentRead | Permission::kWriteUnchanged;
    // Otherwise it would overwrite a block that another user has written meanwhile.
    needed.shared = needed.shared - Permission::kWrite;
    return needed;
  }

 private:
  aio::Task<void> scrub() {
    while (!stop_) {
      const Range block{next_, kBlockBytes};
      next_ = (next_ + kBlockBytes) % (size_bytes() - size_bytes() % kBlockBytes);
      RangeLock::Hold hold(blocks_, reactor_, block, RangeLock::Kind::kExclusive);
      co_await hold.acquire();
      std::vector<std::byte> bytes(kBlockBytes);
      iovec vector{bytes.data(), bytes.size()};
      EXPECT_TRUE(co_await Filter::read(block, {&vector, 1}));
      EXPECT_TRUE(co_await Filter::write(block, {&vector, 1}, {}));
    }
  }

  aio::Reactor& reactor_;
  aio::Scope scope_;
  RangeLock blocks_;
  std::uint64_t next_ = 0;
  bool stop_ = false;
};

// Runs on one reactor only, and so needs no lock for its counters.
class HomeFilter final : public Filter {
 public:
  HomeFilter(aio::DataReactor& home, std::unique_ptr<Edge> file) : Filter(std::move(file)), home_(home) {}

  aio::DataReactor* home() const override { return &home_; }

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override {
    EXPECT_EQ(&co_await aio::current_reactor(), &home_.reactor);
    ++requests_;
    co_return co_await Filter::read(range, buffers);
  }
  aio::Task<IoResult> write(Range range, IoBuffers buffers, WriteOptions options) override {
    EXPECT_EQ(&co_await aio::current_reactor(), &home_.reactor);
    ++requests_;
    co_return co_await Filter::write(range, buffers, options);
  }

 private:
  aio::DataReactor& home_;
  std::uint64_t requests_ = 0;
};

// Keeps the content that a node's blocks had when it was added as a listener: it copies each block before its first
// change.
class OlderState final : public ChangeListener {
 public:
  static constexpr std::uint64_t kBlockBytes = 512;

  // Listens to `node`, whose size is a multiple of kBlockBytes, from the change on that adds it there.
  explicit OlderState(Node& node) : node_(node) {}

  IoResult try_before_change(aio::Reactor&, const Change& change) override {
    std::lock_guard guard(mutex_);
    for (std::uint64_t block = first_block(change.range); block < end_block(change.range); ++block) {
      if (!copies_.contains(block)) return fail(EAGAIN);
    }
    return {};
  }
  aio::Task<IoResult> before_change(Change change) override {
    const Range blocks = blocks_of(change.range);
    RangeLock::Hold hold(lock_, co_await aio::current_reactor(), blocks, RangeLock::Kind::kExclusive);
    co_await hold.acquire();
    for (std::uint64_t block = first_block(blocks); block < end_block(blocks); ++block) {
      if (find(block) != nullptr) continue;
      auto bytes = std::make_unique<Block>();
      iovec vector{bytes->data(), bytes->size()};
      CO_TRY(co_await node_.read({block * kBlockBytes, kBlockBytes}, {&vector, 1}));
      std::lock_guard guard(mutex_);
      copies_.emplace(block, std::move(bytes));
    }
    co_return IoResult();
  }

  // Reads the original content of whole blocks.
  aio::Task<IoResult> read(Range range, IoBuffers buffers) {
    RangeLock::Hold hold(lock_, co_await aio::current_reactor(), range, RangeLock::Kind::kShared);
    co_await hold.acquire();
    std::vector<std::byte> bytes(range.length);
    for (std::uint64_t block = first_block(range); block < end_block(range); ++block) {
      const std::span<std::byte> to = std::span(bytes).subspan(block * kBlockBytes - range.offset, kBlockBytes);
      if (const Block* copy = find(block)) {
        std::memcpy(to.data(), copy->data(), kBlockBytes);
        continue;
      }
      iovec vector{to.data(), to.size()};
      CO_TRY(co_await node_.read({block * kBlockBytes, kBlockBytes}, {&vector, 1}));
    }
    copy_in(buffers, 0, bytes);
    co_return IoResult();
  }

 private:
  using Block = std::array<std::byte, kBlockBytes>;
  static std::uint64_t first_block(Range range) { return range.offset / kBlockBytes; }
  static std::uint64_t end_block(Range range) { return (range.end() + kBlockBytes - 1) / kBlockBytes; }
  static Range blocks_of(Range range) {
    return {first_block(range) * kBlockBytes, (end_block(range) - first_block(range)) * kBlockBytes};
  }
  const Block* find(std::uint64_t block) {
    std::lock_guard guard(mutex_);
    auto found = copies_.find(block);
    return found != copies_.end() ? found->second.get() : nullptr;
  }

  Node& node_;
  RangeLock lock_;
  std::mutex mutex_;
  std::map<std::uint64_t, std::unique_ptr<Block>> copies_;
};

// Shows an older state of its child. It is no LiveDriver, so nothing above it can read past it.
class OlderStateFilter final : public Filter {
 public:
  // `state` listens to the child, and outlives the filter.
  OlderStateFilter(std::unique_ptr<Edge> file, OlderState& state) : Filter(std::move(file)), state_(state) {}

  aio::Task<IoResult> read(Range range, IoBuffers buffers) override { return state_.read(range, buffers); }
  aio::Task<IoResult> write(Range, IoBuffers, WriteOptions) override { co_return fail(EPERM); }
  aio::Task<IoResult> write_zeroes(Range, ZeroOptions) override { co_return fail(EPERM); }
  Limits limits() const override { return {.request_alignment = OlderState::kBlockBytes}; }
  Permissions child_permissions(const Edge&, const Permissions&, bool) const override {
    return {.used = Permission::kConsistentRead, .shared = PermissionSet::all()};
  }

 private:
  OlderState& state_;
};

}  // namespace blockexport::block
