#include "crypto/sector_cipher.h"

#include <gnutls/crypto.h>
#include <nettle/cbc.h>
#include <nettle/nettle-meta.h>
#include <nettle/xts.h>
#include <string.h>

#include <array>
#include <cassert>
#include <utility>

#include "crypto/hash.h"

namespace blockexport::crypto {
namespace {

constexpr std::size_t kBlockBytes = 16;

using Iv = std::array<std::uint8_t, kBlockBytes>;

std::uint8_t* octets(std::byte* bytes) {
  return reinterpret_cast<std::uint8_t*>(bytes);
}
const std::uint8_t* octets(const std::byte* bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes);
}

const nettle_cipher* nettle_cipher_of(CipherAlgorithm algorithm) {
  switch (algorithm) {
    case CipherAlgorithm::kAes128:
      return &nettle_aes128;
    case CipherAlgorithm::kAes192:
      return &nettle_aes192;
    case CipherAlgorithm::kAes256:
      return &nettle_aes256;
    case CipherAlgorithm::kSerpent128:
      return &nettle_serpent128;
    case CipherAlgorithm::kSerpent192:
      return &nettle_serpent192;
    case CipherAlgorithm::kSerpent256:
      return &nettle_serpent256;
    case CipherAlgorithm::kTwofish128:
      return &nettle_twofish128;
    case CipherAlgorithm::kTwofish192:
      return &nettle_twofish192;
    case CipherAlgorithm::kTwofish256:
      return &nettle_twofish256;
    default:
      return nullptr;
  }
}

gnutls_cipher_algorithm_t gnutls_cipher_of(const CipherSpec& spec) {
  if (spec.mode == CipherMode::kXts) {
    if (spec.algorithm == CipherAlgorithm::kAes128) return GNUTLS_CIPHER_AES_128_XTS;
    if (spec.algorithm == CipherAlgorithm::kAes256) return GNUTLS_CIPHER_AES_256_XTS;
  } else if (spec.mode == CipherMode::kCbc) {
    if (spec.algorithm == CipherAlgorithm::kAes128) return GNUTLS_CIPHER_AES_128_CBC;
    if (spec.algorithm == CipherAlgorithm::kAes192) return GNUTLS_CIPHER_AES_192_CBC;
    if (spec.algorithm == CipherAlgorithm::kAes256) return GNUTLS_CIPHER_AES_256_CBC;
  }
  return GNUTLS_CIPHER_UNKNOWN;
}

// A block cipher of nettle with its keys of both directions.
class BlockCipher {
 public:
  BlockCipher(CipherAlgorithm algorithm, std::span<const std::byte> key)
      : cipher_(nettle_cipher_of(algorithm)), encrypting_(cipher_->context_size), decrypting_(cipher_->context_size) {
    assert(key.size() == cipher_->key_size);
    cipher_->set_encrypt_key(encrypting_.bytes().data(), octets(key.data()));
    cipher_->set_decrypt_key(decrypting_.bytes().data(), octets(key.data()));
  }

  nettle_cipher_func* encrypt_function() const { return cipher_->encrypt; }
  nettle_cipher_func* decrypt_function() const { return cipher_->decrypt; }
  const void* encrypting() const { return encrypting_.bytes().data(); }
  const void* decrypting() const { return decrypting_.bytes().data(); }

  void encrypt(std::size_t length, std::uint8_t* to, const std::uint8_t* from) const {
    cipher_->encrypt(encrypting(), length, to, from);
  }
  void decrypt(std::size_t length, std::uint8_t* to, const std::uint8_t* from) const {
    cipher_->decrypt(decrypting(), length, to, from);
  }

 private:
  // Pages of their own are aligned as the library wants its contexts.
  const nettle_cipher* cipher_;
  SecretBytes encrypting_;
  SecretBytes decrypting_;
};

// Makes the initialization vectors.
class IvMaker {
 public:
  IvMaker(const CipherSpec& spec, std::span<const std::byte> key) : generator_(spec.iv) {
    if (spec.iv != IvGenerator::kEssiv) return;
    SecretBytes salt(digest_bytes_of(*spec.iv_hash));
    hash_bytes(*spec.iv_hash, key, salt.bytes());
    essiv_.emplace(*essiv_cipher(spec), salt.bytes());
  }

  Iv operator()(std::uint64_t sector) const {
    Iv iv{};
    if (generator_ == IvGenerator::kPlain) sector &= UINT32_MAX;
    for (std::size_t i = 0; i < sizeof sector; ++i) iv[i] = static_cast<std::uint8_t>(sector >> (8 * i));
    if (essiv_) essiv_->encrypt(iv.size(), iv.data(), iv.data());
    return iv;
  }

 private:
  IvGenerator generator_;
  std::optional<BlockCipher> essiv_;
};

}  // namespace

// The state of one call at a time.
class CipherContext {
 public:
  CipherContext(const CipherSpec& spec, std::span<const std::byte> key) : iv_(spec, key) {}
  virtual ~CipherContext() = default;
  CipherContext(const CipherContext&) = delete;
  CipherContext& operator=(const CipherContext&) = delete;

  virtual bool is_ready() const { return true; }
  virtual bool encrypt(std::uint64_t sector, const std::byte* from, std::byte* to) = 0;
  virtual bool decrypt(std::uint64_t sector, std::byte* bytes) = 0;

 protected:
  Iv iv_of(std::uint64_t sector) const { return iv_(sector); }

 private:
  IvMaker iv_;
};

namespace {

class GnutlsContext final : public CipherContext {
 public:
  GnutlsContext(const CipherSpec& spec, std::span<const std::byte> key) : CipherContext(spec, key) {
    const gnutls_datum_t datum = {const_cast<unsigned char*>(octets(key.data())), static_cast<unsigned>(key.size())};
    if (gnutls_cipher_init(&cipher_, gnutls_cipher_of(spec), &datum, nullptr) != 0) cipher_ = nullptr;
  }
  ~GnutlsContext() override {
    if (cipher_ != nullptr) gnutls_cipher_deinit(cipher_);
  }

  bool is_ready() const override { return cipher_ != nullptr; }
  bool encrypt(std::uint64_t sector, const std::byte* from, std::byte* to) override {
    set_iv(sector);
    return gnutls_cipher_encrypt2(cipher_, from, kSectorBytes, to, kSectorBytes) == 0;
  }
  bool decrypt(std::uint64_t sector, std::byte* bytes) override {
    set_iv(sector);
    return gnutls_cipher_decrypt2(cipher_, bytes, kSectorBytes, bytes, kSectorBytes) == 0;
  }

 private:
  void set_iv(std::uint64_t sector) {
    Iv iv = iv_of(sector);
    gnutls_cipher_set_iv(cipher_, iv.data(), iv.size());
  }

  gnutls_cipher_hd_t cipher_ = nullptr;
};

class NettleContext final : public CipherContext {
 public:
  NettleContext(const CipherSpec& spec, std::span<const std::byte> key)
      : CipherContext(spec, key), mode_(spec.mode), data_(spec.algorithm, key.first(key_bytes_of(spec.algorithm))) {
    if (mode_ == CipherMode::kXts) tweak_.emplace(spec.algorithm, key.subspan(key_bytes_of(spec.algorithm)));
  }

  bool encrypt(std::uint64_t sector, const std::byte* from, std::byte* to) override {
    Iv iv = iv_of(sector);
    switch (mode_) {
      case CipherMode::kXts:
        xts_encrypt_message(data_.encrypting(), tweak_->encrypting(), data_.encrypt_function(), iv.data(), kSectorBytes,
                            octets(to), octets(from));
        return true;
      case CipherMode::kCbc:
        cbc_encrypt(data_.encrypting(), data_.encrypt_function(), kBlockBytes, iv.data(), kSectorBytes, octets(to),
                    octets(from));
        return true;
      case CipherMode::kEcb:
        data_.encrypt(kSectorBytes, octets(to), octets(from));
        return true;
      case CipherMode::kCtr:
        break;
    }
    return false;
  }

  bool decrypt(std::uint64_t sector, std::byte* bytes) override {
    Iv iv = iv_of(sector);
    switch (mode_) {
      case CipherMode::kXts:
        xts_decrypt_message(data_.decrypting(), tweak_->encrypting(), data_.decrypt_function(),
                            tweak_->encrypt_function(), iv.data(), kSectorBytes, octets(bytes), octets(bytes));
        return true;
      case CipherMode::kCbc:
        cbc_decrypt(data_.decrypting(), data_.decrypt_function(), kBlockBytes, iv.data(), kSectorBytes, octets(bytes),
                    octets(bytes));
        return true;
      case CipherMode::kEcb:
        data_.decrypt(kSectorBytes, octets(bytes), octets(bytes));
        return true;
      case CipherMode::kCtr:
        break;
    }
    return false;
  }

 private:
  CipherMode mode_;
  BlockCipher data_;
  std::optional<BlockCipher> tweak_;
};

std::unique_ptr<CipherContext> make_context(const CipherSpec& spec, std::span<const std::byte> key) {
  if (gnutls_cipher_of(spec) == GNUTLS_CIPHER_UNKNOWN) return std::make_unique<NettleContext>(spec, key);
  return std::make_unique<GnutlsContext>(spec, key);
}

}  // namespace

Result<std::unique_ptr<SectorCipher>> SectorCipher::create(const CipherSpec& spec, std::span<const std::byte> key) {
  TRY(check_spec(spec));
  assert(key.size() == key_bytes_of(spec));
  SecretBytes own(key.size());
  memcpy(own.bytes().data(), key.data(), key.size());
  return std::unique_ptr<SectorCipher>(new SectorCipher(spec, std::move(own)));
}

SectorCipher::SectorCipher(const CipherSpec& spec, SecretBytes key) : spec_(spec), key_(std::move(key)) {}

SectorCipher::~SectorCipher() = default;

std::unique_ptr<CipherContext> SectorCipher::take() {
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<CipherContext> context = std::move(idle_.back());
      idle_.pop_back();
      return context;
    }
  }
  return make_context(spec_, key_.bytes());
}

void SectorCipher::give_back(std::unique_ptr<CipherContext> context) {
  const std::lock_guard lock(mutex_);
  if (idle_.size() < kIdleContextsMax) idle_.push_back(std::move(context));
}

IoResult SectorCipher::encrypt(std::uint64_t sector, std::span<const std::byte> plain, std::span<std::byte> encrypted) {
  assert(plain.size() == encrypted.size() && plain.size() % kSectorBytes == 0);
  std::unique_ptr<CipherContext> context = take();
  if (!context->is_ready()) return fail(ENOMEM);
  bool worked = true;
  for (std::size_t offset = 0; worked && offset < plain.size(); offset += kSectorBytes) {
    worked = context->encrypt(sector++, plain.data() + offset, encrypted.data() + offset);
  }
  give_back(std::move(context));
  if (!worked) return fail(EIO);
  return {};
}

IoResult SectorCipher::decrypt(std::uint64_t sector, std::span<std::byte> bytes) {
  assert(bytes.size() % kSectorBytes == 0);
  std::unique_ptr<CipherContext> context = take();
  if (!context->is_ready()) return fail(ENOMEM);
  bool worked = true;
  for (std::size_t offset = 0; worked && offset < bytes.size(); offset += kSectorBytes) {
    worked = context->decrypt(sector++, bytes.data() + offset);
  }
  give_back(std::move(context));
  if (!worked) return fail(EIO);
  return {};
}

}  // namespace blockexport::crypto
