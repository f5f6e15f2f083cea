// block-dirty-bitmap-add, -remove, -clear, -enable, -disable and -merge, x-debug-block-dirty-bitmap-sha256.

#include "control/commands/dirty_bitmap.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "aio/task/current.h"
#include "control/core/control.h"
#include "schema/block_dirty_bitmap_commands.h"

namespace blockexport::control {
namespace {

// Words that are added to a digest in one turn of the event loop.
constexpr std::uint64_t kDigestWordsMax = 128u << 10;

aio::Task<Result<>> apply_one(Control& control, block::GraphStep step) {
  std::vector<block::GraphStep> steps;
  steps.push_back(std::move(step));
  return control.graph().apply(std::move(steps));
}

Result<const block::DirtyBits*> bits_of(Control& control, const schema::BlockDirtyBitmap& bitmap) {
  const block::Node* node = control.graph().find(bitmap.node);
  if (node == nullptr) return fail(fmt::format("Node '{}' not found", bitmap.node));
  TRY_ASSIGN(const block::DirtyBitmap* found, node->bitmaps().list().require(bitmap.name));
  return &found->bits();
}

// A digest that is made piece by piece.
class Sha256 {
 public:
  Sha256() = default;
  ~Sha256() {
    if (hash_ != nullptr) gnutls_hash_deinit(hash_, nullptr);
  }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Result<> begin() { return check(gnutls_hash_init(&hash_, GNUTLS_DIG_SHA256)); }
  Result<> add(std::span<const std::byte> bytes) { return check(gnutls_hash(hash_, bytes.data(), bytes.size())); }
  // In hexadecimal.
  std::string text() {
    std::array<unsigned char, 32> digest{};
    gnutls_hash_output(hash_, digest.data());
    return fmt::format("{:02x}", fmt::join(digest, ""));
  }

 private:
  static Result<> check(int outcome) {
    if (outcome < 0) return fail(fmt::format("Cannot compute the digest: {}", gnutls_strerror(outcome)));
    return {};
  }

  gnutls_hash_hd_t hash_ = nullptr;
};

// Adds the words from `first_word` on that a digest takes in one turn. Returns their number, 0 at the end.
Result<std::uint64_t> add_words(Sha256& digest, const block::DirtyBits& bits, std::uint64_t first_word) {
  if (first_word >= bits.word_count()) return 0;
  std::vector<std::uint64_t> words(std::min(kDigestWordsMax, bits.word_count() - first_word));
  bits.copy_words(first_word, words);
  TRY(digest.add(std::as_bytes(std::span(words))));
  return words.size();
}

}  // namespace

block::BitmapName bitmap_name(schema::BlockDirtyBitmap bitmap) {
  return {std::move(bitmap.node), std::move(bitmap.name)};
}

block::AddBitmap add_step(schema::BlockDirtyBitmapAdd arguments) {
  return {.bitmap = {std::move(arguments.node), std::move(arguments.name)},
          .granularity_bytes = arguments.granularity,
          .persistent = arguments.persistent.value_or(false),
          .enabled = !arguments.disabled.value_or(false)};
}

block::MergeBitmaps merge_step(schema::BlockDirtyBitmapMerge arguments) {
  block::MergeBitmaps step{.target = {arguments.node, std::move(arguments.target)}, .sources = {}};
  for (schema::BlockDirtyBitmapOrStr& source : arguments.bitmaps) {
    if (source.local() != nullptr) {
      step.sources.push_back({arguments.node, *source.local()});
    } else {
      step.sources.push_back(bitmap_name(*source.external()));
    }
  }
  return step;
}

aio::Task<Result<>> block_dirty_bitmap_add(Control& control, schema::BlockDirtyBitmapAdd arguments) {
  co_return co_await apply_one(control, add_step(std::move(arguments)));
}

aio::Task<Result<>> block_dirty_bitmap_remove(Control& control, schema::BlockDirtyBitmap arguments) {
  co_return co_await apply_one(control, block::RemoveBitmap{bitmap_name(std::move(arguments))});
}

aio::Task<Result<>> block_dirty_bitmap_clear(Control& control, schema::BlockDirtyBitmap arguments) {
  co_return co_await apply_one(control, block::ClearBitmap{bitmap_name(std::move(arguments))});
}

aio::Task<Result<>> block_dirty_bitmap_enable(Control& control, schema::BlockDirtyBitmap arguments) {
  co_return co_await apply_one(control, block::EnableBitmap{bitmap_name(std::move(arguments))});
}

aio::Task<Result<>> block_dirty_bitmap_disable(Control& control, schema::BlockDirtyBitmap arguments) {
  co_return co_await apply_one(control, block::DisableBitmap{bitmap_name(std::move(arguments))});
}

aio::Task<Result<>> block_dirty_bitmap_merge(Control& control, schema::BlockDirtyBitmapMerge arguments) {
  co_return co_await apply_one(control, merge_step(std::move(arguments)));
}

aio::Task<Result<schema::BlockDirtyBitmapSha256>> x_debug_block_dirty_bitmap_sha256(
    Control& control, schema::BlockDirtyBitmap arguments) {
  CO_TRY(co_await control.graph().resize_bitmaps());
  Sha256 digest;
  CO_TRY(digest.begin());
  for (std::uint64_t done = 0;;) {
    // Found anew in each turn, since other commands may have removed it.
    CO_TRY_ASSIGN(const block::DirtyBits* bits, bits_of(control, arguments));
    CO_TRY_ASSIGN(const std::uint64_t added, add_words(digest, *bits, done));
    if (added == 0) break;
    done += added;
    co_await aio::next_turn();
  }
  co_return schema::BlockDirtyBitmapSha256{.sha256 = digest.text()};
}

}  // namespace blockexport::control
