#include "client/backup/sha256.h"

#include <fmt/format.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>

#include <cstdio>
#include <cstdlib>

namespace blockexport::backup {
namespace {

constexpr std::string_view kDigits = "0123456789abcdef";

// GnuTLS fails here only where a policy of the system forbids SHA-256, or memory is exhausted.
void require(int code) {
  if (code >= 0) return;
  std::fputs("blockexport: GnuTLS cannot compute SHA-256\n", stderr);
  std::abort();
}

}  // namespace

struct Sha256Hash::State {
  gnutls_hash_hd_t handle = nullptr;
};

Sha256Hash::Sha256Hash() : state_(std::make_unique<State>()) {
  require(gnutls_hash_init(&state_->handle, GNUTLS_DIG_SHA256));
}

Sha256Hash::~Sha256Hash() {
  gnutls_hash_deinit(state_->handle, nullptr);
}

void Sha256Hash::add(std::span<const std::byte> bytes) {
  if (!bytes.empty()) require(gnutls_hash(state_->handle, bytes.data(), bytes.size()));
}

Sha256 Sha256Hash::finish() {
  Sha256 sum;
  gnutls_hash_output(state_->handle, sum.data());  // resets the state
  return sum;
}

Sha256 sha256_of(std::span<const std::byte> bytes) {
  Sha256 sum;
  require(gnutls_hash_fast(GNUTLS_DIG_SHA256, bytes.data(), bytes.size(), sum.data()));
  return sum;
}

Sha256 sha256_of(std::string_view text) {
  return sha256_of(std::as_bytes(std::span(text)));
}

std::string hex_of(const Sha256& sum) {
  std::string text;
  for (std::byte one : sum) {
    text += kDigits[std::to_integer<unsigned>(one) >> 4];
    text += kDigits[std::to_integer<unsigned>(one) & 15];
  }
  return text;
}

std::optional<Sha256> sha256_from_hex(std::string_view text) {
  Sha256 sum;
  if (text.size() != 2 * sum.size()) return std::nullopt;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    const std::size_t high = kDigits.find(text[2 * i]);
    const std::size_t low = kDigits.find(text[2 * i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    sum[i] = static_cast<std::byte>(high * 16 + low);
  }
  return sum;
}

}  // namespace blockexport::backup
