// info_text(): what an image says about itself, as text for a person. A pure function, apart from the time zone.
#pragma once

#include <string>
#include <vector>

#include "schema/block_node_info.h"

namespace blockexport::image {

// Lines, each with its end. Control bytes of names in the image are escaped.
std::string info_text(const schema::ImageInfo& info);

// The same for a list of snapshots, with a head.
std::string snapshots_text(const std::vector<schema::SnapshotInfo>& snapshots);

// "1.5 MiB".
std::string size_text(std::int64_t bytes);

}  // namespace blockexport::image
