// NodeOptions: options of every node, for any driver. Plain values.
#pragma once

#include <cstdint>

namespace blockexport::block {

enum class DiscardMode : bool { kIgnore, kUnmap };
enum class DetectZeroes : std::uint8_t { kOff, kOn, kUnmap };

// Options of every node, for any driver.
struct NodeOptions {
  bool read_only = false;
  bool auto_read_only = false;
  bool force_share = false;
  bool cache_direct = false;
  bool cache_no_flush = false;
  DiscardMode discard = DiscardMode::kIgnore;
  DetectZeroes detect_zeroes = DetectZeroes::kOff;

  friend bool operator==(const NodeOptions&, const NodeOptions&) = default;
};

}  // namespace blockexport::block
