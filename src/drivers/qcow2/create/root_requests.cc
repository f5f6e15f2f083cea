#include "drivers/qcow2/create/root_requests.h"

#include "block/node.h"

namespace blockexport::drivers::qcow2 {
namespace {

// Leaves the gate of the edge at the end of a request.
class Inside {
 public:
  explicit Inside(block::Edge& edge) : edge_(edge) {}
  ~Inside() { edge_.leave(); }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  block::Edge& edge_;
};

}  // namespace

aio::Task<IoResult> RootRequests::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  CO_TRY(co_await edge_.enter());
  const Inside inside(edge_);
  const iovec vector{const_cast<std::byte*>(bytes.data()), bytes.size()};
  co_return co_await edge_.node().write({offset, bytes.size()}, std::span(&vector, 1), {.may_grow = true});
}

aio::Task<IoResult> RootRequests::read(std::uint64_t offset, std::span<std::byte> bytes) {
  CO_TRY(co_await edge_.enter());
  const Inside inside(edge_);
  const iovec vector{bytes.data(), bytes.size()};
  co_return co_await edge_.node().read({offset, bytes.size()}, std::span(&vector, 1));
}

aio::Task<IoResult> RootRequests::write_zeroes(block::Range range, bool may_unmap) {
  CO_TRY(co_await edge_.enter());
  const Inside inside(edge_);
  co_return co_await edge_.node().write_zeroes(range, {.may_unmap = may_unmap, .may_grow = true});
}

aio::Task<IoResult> RootRequests::grow(std::uint64_t size_bytes) {
  CO_TRY(co_await edge_.enter());
  const Inside inside(edge_);
  co_return co_await edge_.node().grow(size_bytes);
}

aio::Task<IoResult> RootRequests::flush() {
  CO_TRY(co_await edge_.enter());
  const Inside inside(edge_);
  co_return co_await edge_.node().flush();
}

std::uint64_t RootRequests::size_bytes() const {
  return edge_.node().size_bytes();
}

}  // namespace blockexport::drivers::qcow2
