// ImageSecrets: the secrets that the command line of a verb of `blockexport image` defines with --object.
//
// Owned by an ImageGraph. Main thread.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "aio/reactor/reactor.h"
#include "base/error.h"
#include "base/log.h"
#include "drivers/secret_source.h"

namespace blockexport::image {

// Objects of a command line, each as "secret,id=ID,file=PATH,...", or as JSON.
using ObjectTexts = std::vector<std::string>;

class ImageSecrets final : public drivers::SecretSource {
 public:
  // Reads a secret from its definition. It may be encrypted with one that was added before.
  aio::Task<Result<>> add(aio::Reactor& reactor, const Log& log, std::string text);
  // From now on, an encrypted image for which no secret is named shows its header alone.
  void open_locked_images() { opens_locked_images_ = true; }

  Result<std::shared_ptr<const SecretBytes>> find_secret(const std::string& id) override;
  bool opens_locked_images() const override { return opens_locked_images_; }

 private:
  std::map<std::string, std::shared_ptr<const SecretBytes>> secrets_;
  bool opens_locked_images_ = false;
};

// Overwrites the data of secrets in the arguments of --object, so that the list of processes shows them no longer.
void hide_secrets(int count, char** arguments);

}  // namespace blockexport::image
