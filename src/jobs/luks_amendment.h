// LuksAmendmentWork: the work of a job that changes the key slots of an encrypted image (x-blockdev-amend).
//
// Owned by its Job. Requests of the node's users go on meanwhile. Thread: the control reactor; keys are derived on its
// worker threads.
#pragma once

#include <optional>
#include <string>

#include "crypto/luks_volume.h"
#include "drivers/encryption/encrypted_image.h"
#include "drivers/secret_source.h"
#include "jobs/job_nodes.h"
#include "jobs/job_work.h"
#include "schema/block_create.h"

namespace blockexport::jobs {

class LuksAmendmentWork final : public JobWork {
 public:
  // `node_name`: of a node whose driver check_amendment() accepted. `secrets` has the passphrases. Both it and the
  // graph outlive the work.
  LuksAmendmentWork(block::Graph& graph, std::string node_name, schema::BlockdevAmendOptions options, bool force,
                    drivers::SecretSource& secrets)
      : nodes_(graph),
        node_name_(std::move(node_name)),
        options_(std::move(options)),
        force_(force),
        secrets_(secrets) {}

  aio::Task<Result<>> run(JobSteps& steps) override;
  aio::Task<void> clean() override { return nodes_.release(); }

 private:
  aio::Task<Result<>> amend();
  aio::Task<Result<>> change_slots(block::Edge& edge, const schema::QCryptoBlockAmendOptionsLUKS& options);
  Result<crypto::LuksChange> change_of(const schema::QCryptoBlockAmendOptionsLUKS& options,
                                       const std::string& key_secret) const;
  Result<crypto::Passphrase> passphrase(const std::string& id) const;

  JobNodes nodes_;
  std::string node_name_;
  schema::BlockdevAmendOptions options_;
  bool force_;
  drivers::SecretSource& secrets_;
};

// The checks before the job begins. The errors are for users.
Result<> check_amendment(block::Node& node, const schema::BlockdevAmendOptions& options);

}  // namespace blockexport::jobs
