// How long a writer waits while superseded versions are dropped beside it, and for what.
#pragma once

#include <string>

namespace skiff::bench {

void compaction_pause(const std::string& directory, int revisions);

}  // namespace skiff::bench
