// Opening of a qcow2 node from the options of the schema: its children, its image, and the checks of both.
//
// Thread: the control reactor.
#pragma once

#include <memory>

#include "aio/task/task.h"
#include "base/error.h"
#include "block/driver_table.h"
#include "block/node_options.h"
#include "drivers/qcow2/qcow2_driver.h"
#include "drivers/secret_source.h"

namespace blockexport::drivers::qcow2 {

// `secrets`: has the passphrases of encrypted images; null: there are none.
aio::Task<Result<std::unique_ptr<Qcow2Driver>>> open_qcow2(const schema::BlockdevOptionsQcow2& options,
                                                           const block::NodeOptions& node_options,
                                                           block::ChildOpener& children, CorruptionReport corruption,
                                                           SecretSource* secrets = nullptr);

// True if a node with these options is read-only: auto-read-only follows the file.
bool is_to_be_read_only(const block::NodeOptions& node_options, const block::Node& file);

}  // namespace blockexport::drivers::qcow2
