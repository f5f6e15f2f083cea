#include "net/tls_dh_parameters.h"

#include <fmt/format.h>

namespace blockexport::net {

Result<GnutlsDhParameters> read_dh_parameters(const CredentialFile& file) {
  auto parameters = make_gnutls<GnutlsDhParameters, gnutls_dh_params_init>();
  const gnutls_datum_t data{.data = reinterpret_cast<unsigned char*>(const_cast<char*>(file.content.c_str())),
                            .size = static_cast<unsigned>(file.content.size())};
  const int outcome = gnutls_dh_params_import_pkcs3(parameters.get(), &data, GNUTLS_X509_FMT_PEM);
  if (outcome < 0) {
    return fail(fmt::format("Unable to load DH parameters from {}: {}", file.path, gnutls_strerror(outcome)));
  }
  return parameters;
}

}  // namespace blockexport::net
