#include "authz/pam_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace blockexport::authz {
namespace {

template <class Function>
void find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
}

Error not_loaded(const char* name, const char* reason) {
  return Error(fmt::format("cannot use PAM: {}", reason != nullptr ? reason : name))
      .with_hint("authz-pam needs the library of Linux-PAM. Debian: apt install libpam0g libpam-modules");
}

}  // namespace

Result<PamLibrary> load_pam(const char* name) {
  void* library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return fail(not_loaded(name, dlerror()));
  PamLibrary found{};
  find(library, "pam_start", found.start);
  find(library, "pam_start_confdir", found.start_confdir);
  find(library, "pam_acct_mgmt", found.acct_mgmt);
  find(library, "pam_end", found.end);
  find(library, "pam_strerror", found.strerror);
  if (found.start == nullptr || found.acct_mgmt == nullptr || found.end == nullptr || found.strerror == nullptr) {
    dlclose(library);
    return fail(not_loaded(name, fmt::format("{} lacks functions of Linux-PAM", name).c_str()));
  }
  return found;
}

}  // namespace blockexport::authz
