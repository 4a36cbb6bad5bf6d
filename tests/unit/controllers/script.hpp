// Scripts: commands and what they print, run against all controllers on a FakeClient under virtual
// time. A script is a list of blocks:
//
//   COMMAND ARGUMENTS
//   body lines (YAML), where the command takes some
//   ----
//   expected output, up to an empty line
//
// SKIFF_REWRITE=1 writes what the commands print into the script, to be read before it is
// committed.
//
//   apply                          creates the YAML documents of the body, with the API's defaults
//   patch RESOURCE NS/NAME         merge patch; prints nothing
//   status RESOURCE NS/NAME        the same to the status subresource
//   delete RESOURCE NS/NAME [background|foreground|orphan|now]
//   ready N | ready all            the N oldest pods that are not ready become so
//   unready N                      the N oldest ready pods stop being ready
//   reap                           kubelets finish pods that are being deleted
//   lease NODE                     the node's kubelet renews its Lease
//   refuse VERB RESOURCE MESSAGE   such writes fail from now on; `refuse none` ends it
//   run DURATION                   lets time pass
//   show RESOURCE [FIELD...]       one line per object
//   events                         reasons and messages recorded since the last time
//   writes                         accepted writes and batches since the last time
#pragma once

#include <string>

namespace skiff::test {

// Runs the script; returns what it should say, which equals its text when all went as expected.
std::string run_script(const std::string& text);

}  // namespace skiff::test
