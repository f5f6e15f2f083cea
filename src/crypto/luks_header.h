// LuksHeader: the header of a disk that is encrypted with LUKS version 1, as bytes and as values that were checked.
//
// Pure functions without I/O. parse_luks_header() takes any bytes, checks every field that later work relies on, and
// refuses with the texts and in the order of qemu-storage-daemon. Plain values; any thread.
// Source: LUKS On-Disk Format Specification 1.2.3, section 3.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "crypto/algorithms.h"

namespace blockexport::crypto {

inline constexpr std::size_t kLuksHeaderBytes = 592;
inline constexpr std::size_t kLuksSectorBytes = 512;
inline constexpr std::size_t kLuksSlots = 8;
inline constexpr std::uint32_t kLuksStripes = 4000;
inline constexpr std::size_t kLuksSaltBytes = 32;
inline constexpr std::size_t kLuksDigestBytes = 20;
// The key material begins at the first such boundary behind the header, and each slot at a multiple of it.
inline constexpr std::uint32_t kLuksMaterialAlignmentSectors = 8;
// The fewest iterations that a new image or key slot gets.
inline constexpr std::uint32_t kLuksIterationsMin = 1000;

// Iterations of a key slot, or of the master key's digest. A header with more is refused, so that an opening ends.
inline constexpr std::uint32_t kLuksIterationsMax = 1u << 26;
// Iterations of all active key slots of an image together.
inline constexpr std::uint64_t kLuksIterationsOfSlotsMax = std::uint64_t{1} << 27;

struct LuksSlot {
  bool active = false;
  std::uint32_t iterations = 0;
  std::array<std::byte, kLuksSaltBytes> salt = {};
  std::uint32_t material_sector = 0;
  std::uint32_t stripes = kLuksStripes;

  friend bool operator==(const LuksSlot&, const LuksSlot&) = default;
};

struct LuksHeader {
  CipherSpec cipher = {};
  HashAlgorithm hash = HashAlgorithm::kSha256;
  std::uint32_t payload_sector = 0;
  std::array<std::byte, kLuksDigestBytes> digest = {};  // of the master key
  std::array<std::byte, kLuksSaltBytes> digest_salt = {};
  std::uint32_t digest_iterations = 0;
  std::string uuid = {};  // as it stands there, up to its first zero byte
  std::array<LuksSlot, kLuksSlots> slots = {};

  std::size_t key_bytes() const { return key_bytes_of(cipher); }
  std::uint64_t payload_offset() const { return std::uint64_t{payload_sector} * kLuksSectorBytes; }
  // The key in stripes, without and with the bytes up to the end of its last sector.
  std::size_t split_key_bytes() const { return key_bytes() * kLuksStripes; }
  std::size_t material_bytes() const;
  std::uint64_t material_offset(std::size_t slot) const {
    return std::uint64_t{slots[slot].material_sector} * kLuksSectorBytes;
  }
  unsigned active_slots() const;

  friend bool operator==(const LuksHeader&, const LuksHeader&) = default;
};

// The encryption of a new disk.
struct LuksParameters {
  CipherSpec cipher = {};
  HashAlgorithm hash = HashAlgorithm::kSha256;
  std::uint64_t iteration_time_ms = 2000;  // that hashing a passphrase is to take
};

// The place of the data: behind the header, or in a file of their own.
enum class LuksPlacement : bool { kBeforeData, kDetached };

// `bytes`: kLuksHeaderBytes of them. The errors are for users.
Result<LuksHeader> parse_luks_header(std::span<const std::byte> bytes, LuksPlacement placement);

// kLuksHeaderBytes.
std::vector<std::byte> encode_luks_header(const LuksHeader& header);

// A header for a new disk, with a new UUID: slots one behind the other, none active, without salts and digest. Fails
// for what is not built, or does not fit the fields of the header.
Result<LuksHeader> make_luks_header(const CipherSpec& cipher, HashAlgorithm hash, LuksPlacement placement);

// Fails for more iterations than kLuksIterationsMax and kLuksIterationsOfSlotsMax; parse_luks_header() checks it.
Result<> check_luks_iterations(const LuksHeader& header);

// Bytes from the begin of the header to the end of the last slot.
std::uint64_t luks_header_area_bytes(const LuksHeader& header);

}  // namespace blockexport::crypto
