// creation_work(): the work that creates an image, from the options of blockdev-create.
//
// Pure apart from memory; any thread. The options come from a command or from a command line.
#pragma once

#include <memory>

#include "block/graph.h"
#include "drivers/qcow2/create/creation.h"
#include "drivers/secret_source.h"
#include "jobs/job_work.h"
#include "schema/block_create.h"

namespace blockexport::jobs {

// The options of a qcow2 image as values, not checked; the nodes are left out.
drivers::qcow2::Creation qcow2_creation_of(const schema::BlockdevCreateOptionsQcow2& options);

// Work that nobody has begun. The graph outlives it, and so does `secrets`, which has the passphrases of encrypted
// images; null: there are none. Fails for drivers that create no images.
Result<std::unique_ptr<JobWork>> creation_work(block::Graph& graph, const schema::BlockdevCreateOptions& options,
                                               drivers::SecretSource* secrets = nullptr);

}  // namespace blockexport::jobs
