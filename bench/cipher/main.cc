// bench_cipher: the processor time of a cipher alone, as a lower bound for reads of an encrypted disk.
//
// --mib=N (64): decrypts so many MiB in sectors of 512 bytes by AES-256 in the mode XTS of GnuTLS, each with an
// initialization vector of its own, in a piece of memory that stays in the processor's caches. Prints the processor
// time for each MiB as one line of JSON.
#include <gnutls/crypto.h>

#include <array>
#include <cstring>
#include <vector>

#include "common/args.h"
#include "common/fatal.h"
#include "common/json_line.h"
#include "common/time.h"

namespace blockexport::bench {
namespace {

constexpr std::size_t kSectorBytes = 512;
constexpr std::size_t kPieceBytes = std::size_t{256} << 10;
constexpr uint64_t kPiecesPerMib = (uint64_t{1} << 20) / kPieceBytes;
constexpr std::size_t kKeyBytes = 64;

class Cipher {
 public:
  Cipher() {
    // The two halves of the key must differ.
    for (std::size_t i = 0; i < key_.size(); ++i) key_[i] = static_cast<unsigned char>(i * 7 + 1);
    const gnutls_datum_t key{key_.data(), static_cast<unsigned>(key_.size())};
    if (gnutls_cipher_init(&cipher_, GNUTLS_CIPHER_AES_256_XTS, &key, nullptr) != 0) fatal("no AES-256-XTS");
  }
  ~Cipher() { gnutls_cipher_deinit(cipher_); }
  Cipher(const Cipher&) = delete;
  Cipher& operator=(const Cipher&) = delete;

  void decrypt(uint64_t sector, unsigned char* bytes) {
    std::array<unsigned char, 16> iv{};
    std::memcpy(iv.data(), &sector, sizeof sector);
    gnutls_cipher_set_iv(cipher_, iv.data(), iv.size());
    if (gnutls_cipher_decrypt2(cipher_, bytes, kSectorBytes, bytes, kSectorBytes) != 0) fatal("the cipher failed");
  }

 private:
  std::array<unsigned char, kKeyBytes> key_{};
  gnutls_cipher_hd_t cipher_ = nullptr;
};

void run(uint64_t mib) {
  Cipher cipher;
  std::vector<unsigned char> piece(kPieceBytes, 1);
  uint64_t sector = 0;
  const auto work = [&](uint64_t pieces) {
    for (; pieces > 0; --pieces) {
      for (std::size_t at = 0; at < piece.size(); at += kSectorBytes) cipher.decrypt(sector++, piece.data() + at);
    }
  };
  work(kPiecesPerMib);
  const uint64_t begin_ns = own_cpu_ns();
  work(mib * kPiecesPerMib);
  const uint64_t used_ns = own_cpu_ns() - begin_ns;
  JsonLine line;
  line.add("mib", mib);
  line.add("cpu_us_per_mib", static_cast<double>(used_ns) / 1e3 / static_cast<double>(mib));
  line.print();
}

}  // namespace
}  // namespace blockexport::bench

int main(int count, char** values) {
  using namespace blockexport::bench;
  Args args(count, values);
  const uint64_t mib = args.number("mib", 64);
  args.finish();
  if (mib == 0) fatal("--mib starts at 1");
  run(mib);
}
