// Table of the types of exports: one function for each type of the schema, which makes an export of that type.
//
// A new type is a branch in schema/block-export.json and a specialisation of make_export(); one that is missing fails
// the link. Constant; thread: the control reactor.
#pragma once

#include <memory>

#include "aio/task/task.h"
#include "block/edge.h"
#include "export/export.h"
#include "schema/block_export.h"

namespace blockexport::control {

class Control;

// Makes an export of the type of `options`, and takes ownership of `edge`, to its node, if it succeeds. The caller has
// checked the common options; a type that waits checks them again, and the caller registers the export without another
// wait. `options` and `edge` outlive the call. Errors: options that this type does not accept; then nothing has
// changed.
using MadeExport = aio::Task<Result<std::unique_ptr<exports::Export>>>;
template <schema::BlockExportType kType>
MadeExport make_export(Control& control, const schema::BlockExportOptions& options, std::unique_ptr<block::Edge>& edge);

template <>
MadeExport make_export<schema::BlockExportType::kNbd>(Control& control, const schema::BlockExportOptions& options,
                                                      std::unique_ptr<block::Edge>& edge);

// The same for the type that `options` select.
MadeExport make_export_of_any_type(Control& control, const schema::BlockExportOptions& options,
                                   std::unique_ptr<block::Edge>& edge);

// The type of an export that was made by it.
schema::BlockExportType type_of(const exports::Export& made);

}  // namespace blockexport::control
