// Fuzzes the parsers of `blockexport tls check`: pre-shared keys and PEM files. Any bytes become values or findings,
// and no finding shows a key.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "client/certificates.h"
#include "client/credentials.h"

using blockexport::client::Findings;

// Input: a byte that selects the parser ('c': PEM text, else keys.psk), then the text.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] == 'c') {
    auto certificates = blockexport::client::parse_certificates(std::string(text));
    if (!certificates) return 0;
    if (certificates->empty()) abort();
    for (const auto& one : *certificates) {
      (void)blockexport::client::subject_of(one);
      (void)blockexport::client::issuer_of(one);
      (void)blockexport::client::alternative_names(one);
      if (blockexport::client::fingerprint_of(one).size() != 95) abort();
    }
    return 0;
  }
  Findings findings;
  auto keys = blockexport::client::parse_shared_keys(text, findings);
  std::string report = findings.text();
  bool names_are_plain = true;
  for (const auto& key : keys) {
    if (key.user.empty() || key.key_hex.empty() || key.key_hex.size() % 2 != 0) abort();
    names_are_plain = names_are_plain && key.user.find_first_of("0123456789abcdefABCDEF") == std::string::npos;
  }
  for (const auto& key : keys) {
    // If no user name has hexadecimal digits, a whole key in the report has leaked.
    if (names_are_plain && key.key_hex.size() >= 16 && report.find(key.key_hex) != std::string::npos) abort();
  }
  return 0;
}
