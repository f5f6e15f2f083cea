#include "drivers/qcow2/compression/cluster_compressor.h"

#include <zlib.h>
#ifdef BLOCKEXPORT_ZSTD
#include <zstd.h>
#endif

#include <utility>

#include "aio/reactor/reactor.h"
#include "aio/task/current.h"
#include "base/error.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;
using Compressed = std::expected<std::uint64_t, Errno>;

// Deflate without a zlib header; distances reach back 4 KiB at most, which is all that readers allow for.
constexpr int kDeflateWindowBits = -12;
constexpr int kDeflateMemoryLevel = 9;

// Upper bounds of a context's memory, for clusters of up to 2 MiB.
constexpr std::uint64_t kDeflateContextBytes = 288u << 10;
constexpr std::uint64_t kZstdContextBytes = 5u << 20;

constexpr std::uint64_t slot_bytes(CompressionType type, std::uint64_t cluster_bytes) {
  return 2 * cluster_bytes + (type == CompressionType::kZlib ? kDeflateContextBytes : kZstdContextBytes);
}

}  // namespace

// Memory of one compression, used again by the next.
class ClusterCompressor::Context {
 public:
  explicit Context(CompressionType type) : type_(type) {
    if (type == CompressionType::kZlib) {
      is_ready_ = deflateInit2(&zlib_, Z_DEFAULT_COMPRESSION, Z_DEFLATED, kDeflateWindowBits, kDeflateMemoryLevel,
                               Z_DEFAULT_STRATEGY) == Z_OK;
      return;
    }
#ifdef BLOCKEXPORT_ZSTD
    zstd_ = ZSTD_createCCtx();
    is_ready_ = zstd_ != nullptr;
#endif
  }
  ~Context() {
    if (type_ == CompressionType::kZlib && is_ready_) deflateEnd(&zlib_);
#ifdef BLOCKEXPORT_ZSTD
    ZSTD_freeCCtx(zstd_);
#endif
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Compressed compress(Bytes cluster, std::span<std::byte> compressed) {
    if (!is_ready_) return fail(ENOMEM);
    return type_ == CompressionType::kZlib ? deflate_cluster(cluster, compressed) : shrink(cluster, compressed);
  }

 private:
  Compressed deflate_cluster(Bytes cluster, std::span<std::byte> compressed) {
    if (deflateReset(&zlib_) != Z_OK) return fail(EIO);
    // zlib does not change the input; its older interface lacks the const.
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(cluster.data()));
    zlib_.avail_in = static_cast<uInt>(cluster.size());
    zlib_.next_out = reinterpret_cast<Bytef*>(compressed.data());
    zlib_.avail_out = static_cast<uInt>(compressed.size());
    if (deflate(&zlib_, Z_FINISH) != Z_STREAM_END) return 0;
    return zlib_.total_out;
  }

#ifdef BLOCKEXPORT_ZSTD
  Compressed shrink(Bytes cluster, std::span<std::byte> compressed) {
    const std::size_t bytes = ZSTD_compressCCtx(zstd_, compressed.data(), compressed.size(), cluster.data(),
                                                cluster.size(), ZSTD_CLEVEL_DEFAULT);
    return ZSTD_isError(bytes) != 0 ? 0 : bytes;
  }

  ZSTD_CCtx* zstd_ = nullptr;
#else
  Compressed shrink(Bytes, std::span<std::byte>) { return fail(EIO); }
#endif

  CompressionType type_;
  bool is_ready_ = false;
  z_stream zlib_ = {};
};

// Arguments of a compression on a worker thread.
struct ClusterCompressor::Work {
  static std::int64_t run(void* argument) {
    auto& work = *static_cast<Work*>(argument);
    work.result = work.compressor.compress_here(work.cluster, work.compressed);
    return 0;
  }

  ClusterCompressor& compressor;
  Bytes cluster;
  std::span<std::byte> compressed;
  Compressed result = 0;
};

ClusterCompressor::ClusterCompressor(CompressionType type, std::uint64_t cluster_bytes)
    : type_(type), slots_(kCompressionBytesMax / slot_bytes(type, cluster_bytes)) {}

ClusterCompressor::~ClusterCompressor() = default;

Compressed ClusterCompressor::compress_here(Bytes cluster, std::span<std::byte> compressed) {
  std::unique_ptr<Context> context = contexts_.take(type_);
  const Compressed result = context->compress(cluster, compressed);
  contexts_.give_back(std::move(context));
  return result;
}

aio::Task<Compressed> ClusterCompressor::compress(Bytes cluster, std::span<std::byte> compressed) {
  if (cluster.size() <= kInlineCompressionBytesMax) co_return compress_here(cluster, compressed);
  aio::Reactor& reactor = co_await aio::current_reactor();
  Work work{*this, cluster, compressed};
  const auto ended = co_await reactor.call(&Work::run, &work);
  if (!ended) co_return fail(ended.error());
  co_return work.result;
}

}  // namespace blockexport::drivers::qcow2
