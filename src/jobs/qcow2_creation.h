// Qcow2CreationWork: the work of a job that creates a qcow2 image in a node (blockdev-create with driver qcow2).
//
// Owned by its Job. It holds root edges to the nodes of the image while it works; a node that the options define exists
// for that time only. Thread: the control reactor.
#pragma once

#include <memory>
#include <optional>

#include "block/graph.h"
#include "drivers/qcow2/create/create_image.h"
#include "drivers/secret_source.h"
#include "jobs/job_nodes.h"
#include "jobs/job_work.h"
#include "schema/block_create.h"

namespace blockexport::jobs {

class Qcow2CreationWork final : public JobWork {
 public:
  // The graph outlives the work.
  Qcow2CreationWork(block::Graph& graph, drivers::qcow2::Creation creation, schema::BlockdevRef file,
                    std::optional<schema::BlockdevRef> data_file)
      : graph_(graph),
        creation_(std::move(creation)),
        file_(std::move(file)),
        data_file_(std::move(data_file)),
        nodes_(graph) {}

  // Encrypts the image. `secrets` has the passphrase; null: there are none. It outlives the work.
  void encrypt(schema::QCryptoBlockCreateOptions encryption, drivers::SecretSource* secrets) {
    encryption_ = std::move(encryption);
    secrets_ = secrets;
  }

  aio::Task<Result<>> run(JobSteps& steps) override;
  aio::Task<void> clean() override { return nodes_.release(); }

 private:
  aio::Task<Result<>> create(JobSteps& steps);
  Result<crypto::Passphrase> prepare_encryption();
  aio::Task<Result<std::string>> prepare_data_file(const std::string& node_name);

  block::Graph& graph_;
  drivers::qcow2::Creation creation_;
  schema::BlockdevRef file_;
  std::optional<schema::BlockdevRef> data_file_;
  JobNodes nodes_;
  drivers::SecretSource* secrets_ = nullptr;
  std::optional<schema::QCryptoBlockCreateOptions> encryption_;
};

}  // namespace blockexport::jobs
