// DirtyBitmap: a named record of the granules of a node that changed, made by block-dirty-bitmap-add.
//
// Owned by the BitmapList of its node. mark(): any thread, at any time, without locks. resize(): only while no request
// of the node is under way. Everything else: the control reactor. bits() may be read by any thread that keeps the
// bitmap busy. Errors have the texts that management tools know from QEMU.
#pragma once

#include <atomic>
#include <cstdint>
#include <expected>
#include <memory>
#include <optional>
#include <string>

#include "base/error.h"
#include "block/bitmap/dirty_bits.h"
#include "block/range.h"

namespace blockexport::block {

class BitmapKeeper;

class DirtyBitmap {
 public:
  static constexpr std::size_t kNameBytesMax = 1023;
  static constexpr std::uint32_t kDefaultGranularityBytes = 64u << 10;

  // Purpose for which a command needs a bitmap.
  enum class Use : std::uint8_t {
    kRemove,  // an inconsistent bitmap may be removed
    kChange,  // to clear it, or to merge others into it
    kRead,    // to read, export, enable or disable it, or to merge it into another one
  };

  // The default granularity: the cluster size of the image, limited to 4 KiB to 64 KiB. `cluster_bytes`: a power of
  // two; nullopt when the image has no clusters.
  static std::uint32_t default_granularity_bytes(std::optional<std::uint64_t> cluster_bytes);

  // Refuses the empty name. Commands check this before they look for the node.
  static Result<> check_is_named(std::string_view name);
  // Refuses anything but a power of two from 512 bytes to 2 GiB.
  static Result<> check_granularity(std::uint64_t granularity_bytes);

  // The bitmap is enabled and clean. The arguments have passed the checks above.
  static Result<std::unique_ptr<DirtyBitmap>> create(std::string name, std::uint64_t size_bytes,
                                                     std::uint32_t granularity_bytes);
  DirtyBitmap(const DirtyBitmap&) = delete;
  DirtyBitmap& operator=(const DirtyBitmap&) = delete;

  const std::string& name() const { return name_; }
  // Only clear(), take(), merge() and swap() while check() allows kChange.
  DirtyBits& bits() { return *bits_; }
  const DirtyBits& bits() const { return *bits_; }

  // Marks the bytes that a request changed, or may have changed when it failed. Does nothing while disabled.
  void mark(Range range) {
    if (is_enabled_.load(std::memory_order_acquire)) bits_->mark(range);
  }
  // Adopts a change of the node's size. New bytes are clean. If there is no memory for their bits, the bitmap becomes
  // inconsistent, and the error gives the reason.
  Result<> resize(std::uint64_t size_bytes);

  // --- states ---

  bool is_enabled() const { return is_enabled_.load(std::memory_order_relaxed); }
  void set_enabled(bool is_enabled) { is_enabled_.store(is_enabled, std::memory_order_release); }
  // Busy: an operation such as an export uses it and relies on its contents, so only mark() may change them.
  bool is_busy() const { return is_busy_; }
  void set_busy(bool is_busy) { is_busy_ = is_busy; }
  // Inconsistent: its contents cannot be trusted any more. It never becomes consistent again.
  bool is_inconsistent() const { return is_inconsistent_; }
  void make_inconsistent() { is_inconsistent_ = true; }
  // Read-only: it is stored in an image that cannot be written now.
  bool is_read_only() const { return is_read_only_; }
  void set_read_only(bool is_read_only) { is_read_only_ = is_read_only; }
  // Persistent: a keeper stores it, which outlives the bitmap. Null: none.
  bool is_persistent() const { return keeper_ != nullptr; }
  BitmapKeeper* keeper() const { return keeper_; }
  void set_keeper(BitmapKeeper* keeper) { keeper_ = keeper; }
  // True if it records changes so that a backup can use them.
  bool is_recording() const { return is_enabled() && !is_inconsistent_; }

  // Fails while the bitmap is busy.
  Result<> check_free() const;
  // Fails if the state forbids this use.
  Result<> check(Use use) const;
  // Fails if this bitmap cannot be merged into one of `target_size_bytes`. A command that merges looks up one
  // source after the other, and for each one checks first its target for kChange.
  Result<> check_source(std::uint64_t target_size_bytes) const;

 private:
  DirtyBitmap(std::string name, std::unique_ptr<DirtyBits> bits) : name_(std::move(name)), bits_(std::move(bits)) {}

  const std::string name_;
  const std::unique_ptr<DirtyBits> bits_;
  std::atomic<bool> is_enabled_ = true;
  bool is_busy_ = false;
  bool is_inconsistent_ = false;
  bool is_read_only_ = false;
  BitmapKeeper* keeper_ = nullptr;
};

}  // namespace blockexport::block
