#include "drivers/qcow2/compression/cluster_decompressor.h"

#include <zlib.h>
#ifdef BLOCKEXPORT_LIBDEFLATE
#include <libdeflate.h>
#endif
#ifdef BLOCKEXPORT_ZSTD
#include <zstd.h>
#endif

#include <cassert>
#include <utility>

#include "base/error.h"

namespace blockexport::drivers::qcow2 {
namespace {

using Bytes = std::span<const std::byte>;

// Deflate without a zlib header; distances reach back 4 KiB at most.
constexpr int kDeflateWindowBits = -12;

}  // namespace

// Memory of one decompression, used again by the next.
class ClusterDecompressor::Context {
 public:
  explicit Context(CompressionType type) : type_(type) {
    if (type == CompressionType::kZlib) {
      is_ready_ = inflateInit2(&zlib_, kDeflateWindowBits) == Z_OK;
#ifdef BLOCKEXPORT_LIBDEFLATE
      libdeflate_ = libdeflate_alloc_decompressor();
#endif
      return;
    }
#ifdef BLOCKEXPORT_ZSTD
    zstd_ = ZSTD_createDCtx();
    is_ready_ = zstd_ != nullptr;
#endif
  }
  ~Context() {
    if (type_ == CompressionType::kZlib && is_ready_) inflateEnd(&zlib_);
#ifdef BLOCKEXPORT_LIBDEFLATE
    libdeflate_free_decompressor(libdeflate_);
#endif
#ifdef BLOCKEXPORT_ZSTD
    ZSTD_freeDCtx(zstd_);
#endif
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  IoResult decompress(Bytes compressed, std::span<std::byte> cluster) {
    if (!is_ready_) return fail(ENOMEM);
    return type_ == CompressionType::kZlib ? inflate_cluster(compressed, cluster) : expand(compressed, cluster);
  }

 private:
  // True: the cluster is complete. False does not prove damage: zlib accepts a stream whose end mark is missing.
  bool inflate_quickly([[maybe_unused]] Bytes compressed, [[maybe_unused]] std::span<std::byte> cluster) {
#ifdef BLOCKEXPORT_LIBDEFLATE
    if (libdeflate_ == nullptr) return false;
    std::size_t used = 0;
    return libdeflate_deflate_decompress_ex(libdeflate_, compressed.data(), compressed.size(), cluster.data(),
                                            cluster.size(), &used, nullptr) == LIBDEFLATE_SUCCESS;
#else
    return false;
#endif
  }
  IoResult inflate_cluster(Bytes compressed, std::span<std::byte> cluster) {
    if (inflate_quickly(compressed, cluster)) return {};
    if (inflateReset(&zlib_) != Z_OK) return fail(EIO);
    // zlib does not change the input; its older interface lacks the const.
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(compressed.data()));
    zlib_.avail_in = static_cast<uInt>(compressed.size());
    zlib_.next_out = reinterpret_cast<Bytef*>(cluster.data());
    zlib_.avail_out = static_cast<uInt>(cluster.size());
    const int ended = inflate(&zlib_, Z_FINISH);
    // Z_BUF_ERROR with a full cluster: the end mark of the stream was not read.
    if ((ended == Z_STREAM_END || ended == Z_BUF_ERROR) && zlib_.avail_out == 0) return {};
    return fail(EIO);
  }

#ifdef BLOCKEXPORT_ZSTD
  // Frame after frame, each in one call: then zstd needs no window, whose size the image could choose.
  IoResult expand(Bytes compressed, std::span<std::byte> cluster) {
    while (!cluster.empty()) {
      const std::size_t frame_bytes = ZSTD_findFrameCompressedSize(compressed.data(), compressed.size());
      if (ZSTD_isError(frame_bytes) != 0 || frame_bytes == 0) return fail(EIO);
      const std::size_t bytes =
          ZSTD_decompressDCtx(zstd_, cluster.data(), cluster.size(), compressed.data(), frame_bytes);
      if (ZSTD_isError(bytes) != 0) return fail(EIO);
      cluster = cluster.subspan(bytes);
      compressed = compressed.subspan(frame_bytes);
    }
    return {};
  }

  ZSTD_DCtx* zstd_ = nullptr;
#else
  IoResult expand(Bytes, std::span<std::byte>) { return fail(EIO); }
#endif

  CompressionType type_;
  bool is_ready_ = false;
  z_stream zlib_ = {};
#ifdef BLOCKEXPORT_LIBDEFLATE
  libdeflate_decompressor* libdeflate_ = nullptr;
#endif
};

ClusterDecompressor::ClusterDecompressor(CompressionType type) : type_(type) {
  assert(is_built(type));
}

ClusterDecompressor::~ClusterDecompressor() = default;

bool ClusterDecompressor::is_built(CompressionType type) {
#ifdef BLOCKEXPORT_ZSTD
  return type == CompressionType::kZlib || type == CompressionType::kZstd;
#else
  return type == CompressionType::kZlib;
#endif
}

IoResult ClusterDecompressor::decompress(Bytes compressed, std::span<std::byte> cluster) {
  std::unique_ptr<Context> context = contexts_.take(type_);
  const IoResult result = context->decompress(compressed, cluster);
  contexts_.give_back(std::move(context));
  return result;
}

}  // namespace blockexport::drivers::qcow2
