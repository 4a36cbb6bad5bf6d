// What etcd holds, now and at older revisions.
#include <algorithm>
#include <charconv>

#include "etcd_log.hpp"

namespace skiff::etcd {
namespace {

constexpr std::int64_t kFirstPage = 128;
constexpr std::int64_t kLargestPage = 8192;
constexpr std::size_t kSmallPage = 2U << 20U;  // bytes; pages grow while they are smaller
constexpr std::size_t kLargePage = 8U << 20U;

Error malformed_page() {
  return {Code::invalid, "etcd's answer is malformed: a page without progress"};
}

Revision to_revision(std::string_view text) {
  Revision out = 0;
  std::from_chars(text.data(), text.data() + text.size(), out);
  return std::max<Revision>(out, 0);
}

}  // namespace

Task<Result<EtcdLog::Listing>> EtcdLog::list(store::Range range, Revision at, std::size_t limit) {
  Listing out;
  out.revision = at;
  store::Range span = codec_.keys.objects(range);
  std::int64_t step = kFirstPage;
  for (;;) {
    RangeRequest request{span.begin, span.end, out.revision, step, false};
    const std::size_t wanted = limit == 0 ? 0 : limit - out.records.size();
    if (limit != 0) request.limit = std::min(step, static_cast<std::int64_t>(wanted));
    auto page = co_await gateway_.range(request);
    if (!page && page.error().code == Code::too_large && request.limit > 1) {
      step = std::max<std::int64_t>(1, request.limit / 8);
      continue;
    }
    if (!page) co_return page.error();
    if (out.revision == 0) out.revision = page->revision;
    if (cluster_.empty()) cluster_ = page->cluster;
    std::size_t bytes = 0;
    for (const KeyValue& kv : page->kvs) {
      if (kv.key < span.begin || kv.key >= span.end) co_return malformed_page();
      span.begin = kv.key + '\0';
      bytes += kv.value.size();
      auto record = codec_.record(kv);
      if (!record) co_return record.error();
      out.records.push_back(std::move(*record));
    }
    if (!page->more || (limit != 0 && out.records.size() >= limit)) break;
    if (page->kvs.empty()) co_return malformed_page();
    if (bytes < kSmallPage) step = std::min(step * 2, kLargestPage);
    if (bytes > kLargePage) step = std::max<std::int64_t>(step / 2, 1);
  }
  if (out.revision == 0) co_return malformed_page();
  co_return out;
}

Task<Result<std::string>> EtcdLog::claim(std::string key, std::string value) {
  TxnRequest txn(key, 0);
  txn.put(key, value).otherwise({key});
  auto answer = co_await gateway_.call("/v3/kv/txn", std::move(txn).body());
  if (!answer) co_return answer.error();
  const auto read = read_txn(*answer);
  if (!read) co_return read.error();
  if (read->succeeded) co_return value;
  if (read->ranges.empty() || read->ranges[0].kvs.empty()) co_return std::string();
  co_return read->ranges[0].kvs[0].value;
}

// The first server over an etcd says what it will keep there and for which cluster; later ones
// understand it and are of the same, or do not touch it.
Task<Result<void>> EtcdLog::check_format() {
  const std::string& name = codec_.keys.format;
  const std::string wanted = std::to_string(kFormat);
  SKIFF_CO_TRY(const std::string format, co_await claim(name, wanted));
  if (format != wanted) {
    co_return Error{Code::invalid, "etcd at " + gateway_.endpoint() + ": \"" + name +
                                       "\" holds \"" + format.substr(0, 40) +
                                       "\", not \"1\": it belongs to a newer skiff or to somebody "
                                       "else; choose another prefix or upgrade"};
  }
  const std::string random = std::to_string(env_.random->next());
  SKIFF_CO_TRY(instance_, co_await claim(codec_.keys.instance, random));
  if (options_.cluster.empty()) co_return Result<void>();
  SKIFF_CO_TRY(const std::string cluster, co_await claim(codec_.keys.cluster, options_.cluster));
  if (cluster == options_.cluster) co_return Result<void>();
  co_return Error{Code::conflict, "etcd at " + gateway_.endpoint() + ": \"" + options_.prefix +
                                      "\" is another cluster's (" + cluster.substr(0, 12) +
                                      "..., this is " + options_.cluster.substr(0, 12) +
                                      "...): nothing was changed there"};
}

Task<Result<std::string>> read_cluster(Env env, EtcdOptions options) {
  SKIFF_CO_CHECK(check_options(options));
  Gateway gateway(env, options);
  const Keys keys(options.prefix);
  const RangeRequest request{keys.cluster};
  const auto answer = co_await gateway.range(request);
  if (!answer) co_return answer.error();
  co_return answer->kvs.empty() ? std::string() : answer->kvs[0].value;
}

Task<Result<bool>> EtcdLog::readable(Revision at) {
  const RangeRequest request{codec_.keys.newest, "", at, 1, true};
  const auto answer = co_await gateway_.range(request);
  if (answer) co_return true;
  if (answer.error().code == Code::expired) co_return false;
  co_return answer.error();
}

// etcd does not tell up to where it is compacted; whether a revision can be read it does.
Task<Result<void>> EtcdLog::find_compacted(Revision newest) {
  const RangeRequest request{codec_.keys.compaction};
  const auto noted = co_await gateway_.range(request);
  if (!noted) co_return noted.error();
  Revision low = compacted_;
  if (!noted->kvs.empty()) low = std::max(low, to_revision(noted->kvs[0].value));
  low = std::clamp<Revision>(low, 1, newest);
  auto fits = co_await readable(low);
  if (!fits) co_return fits.error();
  Revision high = *fits ? low : newest;
  while (low < high) {
    const Revision middle = low + (high - low) / 2;
    fits = co_await readable(middle);
    if (!fits) co_return fits.error();
    if (*fits) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  compacted_ = high;
  co_return Result<void>();
}

// An error that tells of compaction is a reason to look how far it went.
Task<Error> EtcdLog::as_expired(Error error) {
  if (error.code != Code::expired) co_return error;
  const auto newest = co_await probe();
  if (newest) (void)co_await find_compacted(std::max(*newest, compacted_));
  co_return Error{Code::expired,
                  "etcd keeps no older revision than " + std::to_string(compacted_) + " any more"};
}

Task<Result<std::vector<store::Record>>> EtcdLog::state(store::Range range, Revision at,
                                                        std::size_t limit) {
  if (at < compacted_) {
    const Error error{Code::expired, ""};
    co_return co_await as_expired(error);
  }
  auto listing = co_await list(std::move(range), at, limit);
  if (!listing) co_return co_await as_expired(listing.error());
  co_return std::move(listing->records);
}

// The revision of the last transaction at or before `until`; 0: none.
Task<Result<Revision>> EtcdLog::newest_until(Revision until) {
  RangeRequest request{codec_.keys.newest, "", 0, 1, true};
  auto answer = co_await gateway_.range(request);
  if (!answer) co_return answer.error();
  if (until < answer->revision) {
    request.at = until;
    answer = co_await gateway_.range(request);
    if (!answer) co_return answer.error();
  }
  co_return answer->kvs.empty() ? Revision{0} : answer->kvs[0].modified;
}

Task<Result<std::vector<store::Record>>> EtcdLog::history(store::Range range, Revision after,
                                                          Revision until, std::size_t limit) {
  if (after < compacted_) {
    const Error error{Code::expired, ""};
    co_return co_await as_expired(error);
  }
  const auto last = co_await newest_until(until);
  if (!last) co_return co_await as_expired(last.error());
  if (*last <= after) co_return std::vector<store::Record>();
  std::string key = range.begin;
  key += '\0';
  if (range.end == key) {
    auto told = co_await key_history(range.begin, after, *last);
    if (told) {
      if (limit != 0 && told->size() > limit) told->resize(limit);
      co_return told;
    }
    if (told.error().code != Code::not_found) co_return co_await as_expired(told.error());
  }
  auto told = co_await range_history(std::move(range), after, *last, limit);
  if (!told) co_return co_await as_expired(told.error());
  co_return told;
}

Task<Result<store::Record>> EtcdLog::erased_at(Revision at) {
  const RangeRequest request{codec_.keys.newest, "", at, 1, false};
  const auto answer = co_await gateway_.range(request);
  if (!answer) co_return answer.error();
  if (answer->kvs.empty() || answer->kvs[0].modified != at) {
    co_return Error{Code::not_found, "not erased by skiff"};
  }
  co_return codec_.erased(answer->kvs[0]);
}

// A key that exists at `until`: a watch on it alone ends with the version it has there. not_found
// when this way does not lead to the answer.
Task<Result<std::vector<store::Record>>> EtcdLog::key_history(std::string key, Revision after,
                                                              Revision until) {
  const std::string name = codec_.keys.object(key);
  const RangeRequest request{name, "", until, 1, true};
  const auto there = co_await gateway_.range(request);
  if (!there) co_return there.error();
  if (there->kvs.empty()) co_return Error{Code::not_found, ""};
  std::vector<store::Record> out;
  const Revision last = there->kvs[0].modified;
  if (last <= after) co_return out;
  auto lines = co_await gateway_.open("/v3/watch", watch_body(name, name + '\0', after + 1));
  if (!lines) co_return lines.error();
  for (;;) {
    const auto line = co_await (*lines)->next(options_.request_timeout);
    if (!line) co_return line.error();
    const auto answer = read_watch(*line);
    if (!answer) co_return answer.error();
    if (answer->canceled) co_return Error{Code::expired, answer->reason};
    for (const WatchEvent& event : answer->events) {
      if (event.kv.modified > last) co_return out;
      if (event.kv.key != name) co_return malformed_page();
      auto record =
          event.erase ? Result<store::Record>(Error{Code::not_found, ""}) : codec_.record(event.kv);
      if (event.erase) {
        const Revision at = event.kv.modified;
        record = co_await erased_at(at);
      }
      if (!record) co_return record.error();
      out.push_back(std::move(*record));
      if (event.kv.modified == last) co_return out;
    }
  }
}

// Everything that happened after `after`, filtered: `newest` is among it and says where it ends.
Task<Result<std::vector<store::Record>>> EtcdLog::range_history(store::Range range, Revision after,
                                                                Revision until, std::size_t limit) {
  const store::Range watched = codec_.keys.watched();
  const std::string body = watch_body(watched.begin, watched.end, after + 1);
  auto lines = co_await gateway_.open("/v3/watch", body);
  if (!lines) co_return lines.error();
  std::vector<store::Record> out;
  Folder folder(codec_);
  for (;;) {
    const auto line = co_await (*lines)->next(options_.request_timeout);
    if (!line) co_return line.error();
    const auto answer = read_watch(*line);
    if (!answer) co_return answer.error();
    if (answer->canceled) co_return Error{Code::expired, answer->reason};
    auto folded = folder.feed(*answer);
    if (!folded) co_return folded.error();
    for (store::Record& record : folded->records) {
      const Revision at = record.item->modified;
      if (at <= until && range.contains(record.item->key)) out.push_back(std::move(record));
      if (at >= until || (limit != 0 && out.size() >= limit)) co_return out;
    }
    if (folded->foreign != 0) {
      co_return Error{Code::unavailable, "somebody else than skiff changed etcd at revision " +
                                             std::to_string(folded->foreign) +
                                             ": that history cannot be told"};
    }
  }
}

}  // namespace skiff::etcd
