// What an entry holds: records of the store, or the cluster's servers; and Ops on their way to the
// leader. docs/internals/raft.md describes the formats.
#pragma once

#include <span>

#include "skiff/raft/raft.hpp"
#include "wire.hpp"

namespace skiff::raft {

// Version, checksum, records. Values of keys that `sealer` covers are sealed.
std::string encode_records(std::span<const store::Record> records, const store::Sealer* sealer);
// internal: damaged. The sealer's own error when no key opens a value.
Result<std::vector<store::Record>> decode_records(std::string_view bytes,
                                                  const store::Sealer* sealer);

// Not sealed: the leader writes its revision into values, and TLS protects them on the way.
void put_ops(std::string& out, const std::vector<store::Op>& ops);
Result<std::vector<store::Op>> get_ops(WireReader& in);

using Verdicts = std::vector<Result<store::Revision>>;
void put_verdicts(std::string& out, const Verdicts& verdicts);
bool get_verdicts(WireReader& in, Verdicts& out);

void put_error(std::string& out, const Error& error);
Error get_error(WireReader& in);

// In the core's own format, since it reads them too: but strictly.
std::string encode_servers(const Servers& servers);
Result<Servers> decode_servers(std::string_view bytes);
// Whether `address` can be one: an http or https URL without path, at most 255 bytes.
bool is_address(std::string_view address);

}  // namespace skiff::raft
