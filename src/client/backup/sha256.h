// SHA-256 by GnuTLS: checksums of chunks, tables and manifests. Thread: any; a hash has one user at a time.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace blockexport::backup {

using Sha256 = std::array<std::byte, 32>;

// A checksum of bytes that come in pieces.
class Sha256Hash {
 public:
  Sha256Hash();
  ~Sha256Hash();
  Sha256Hash(const Sha256Hash&) = delete;
  Sha256Hash& operator=(const Sha256Hash&) = delete;

  void add(std::span<const std::byte> bytes);
  // The checksum of all that was added; the hash is as new afterwards.
  Sha256 finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Sha256 sha256_of(std::span<const std::byte> bytes);
Sha256 sha256_of(std::string_view text);

// 64 lower-case hexadecimal digits, and back; nothing for any other text.
std::string hex_of(const Sha256& sum);
std::optional<Sha256> sha256_from_hex(std::string_view text);

}  // namespace blockexport::backup
