// The shim: one small process per pod, the same executable started as `skiff shim DIR`.
//
// It holds the pod's namespaces, is the parent of the pod's containers, owns their stdio and exit
// codes, and writes their logs in the CRI format (TIMESTAMP stdout F line; lines over 16 KiB are
// split into P parts), rotating them by size. It lives in a session and a cgroup of its own, so
// ending skiff does not touch it. skiff speaks to it over DIR/shim.sock (src/runtime/protocol.hpp).
#pragma once

namespace skiff::runtime {

// Runs a shim: `argv[1]` is the sandbox's state directory, which holds shim.plan. The starting
// process returns 0 once the shim is ready (the socket accepts, the namespaces are pinned), or
// prints one line saying what failed and returns 1; a child lives on as the shim. Call it as the
// first thing in main(), before anything else allocates: what is touched here stays resident.
int shim_main(int argc, char** argv);

}  // namespace skiff::runtime
