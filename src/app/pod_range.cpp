#include "pod_range.hpp"

#include <fstream>

#include "skiff/base/log.hpp"
#include "skiff/pki/certificate.hpp"

namespace skiff::app {

using client::resources::kNodes;
using netlink::Prefix;

namespace {

constexpr Duration kRetry = 5s;

}  // namespace

std::optional<Prefix> pod_range_of(const api::Object& node) {
  for (const api::Value& text : node["spec"]["podCIDRs"].items()) {
    const auto range = Prefix::parse(text.as_string());
    if (range && !range->address.v6) return *range;
  }
  return std::nullopt;
}

PodRange::PodRange(Env env, client::Client& client, client::InformerFactory& informers,
                   std::string node_name, std::string file, Open open)
    : env_(env),
      client_(client),
      nodes_(informers.get(kNodes)),
      node_name_(std::move(node_name)),
      file_(std::move(file)),
      open_(std::move(open)),
      changed_(env.executor) {
  nodes_.add_handler([this](const client::ObjectPtr&, const client::ObjectPtr& now) {
    if (now && now->name() == node_name_) look_at(*now);
  });
}

// "NODE RANGE": under another name this is another node.
std::optional<Prefix> PodRange::remembered() const {
  std::ifstream in(file_);
  std::string node;
  std::string text;
  in >> node >> text;
  const auto range = Prefix::parse(text);
  if (node != node_name_ || !range || range->address.v6) return std::nullopt;
  return *range;
}

Task<void> PodRange::remember(Prefix range) {
  if (remembered() == range) co_return;
  const std::string file = file_;
  const std::string text = node_name_ + " " + range.to_string() + "\n";
  auto write = [file, text] { return pki::write_private_file(file, text); };
  const Result<void> written = co_await env_.blocking->run(std::move(write));
  if (!written) {
    log::warn("app", "the range of pod addresses is not remembered", {{"error", written.error()}});
  }
}

Task<Result<void>> PodRange::begin() {
  auto known = remembered();
  if (!known) {
    const client::Ref own = kNodes.at("", node_name_);
    const auto node = co_await client_.get(own);
    if (node) known = pod_range_of(**node);
  }
  if (!known) co_return Result<void>();
  SKIFF_CO_CHECK(co_await open_(*known));
  current_ = known;
  co_await remember(*known);
  co_return Result<void>();
}

void PodRange::look_at(const api::Object& node) {
  const auto range = pod_range_of(node);
  if (!range || range == wanted_) return;
  wanted_ = range;
  changed_.notify_all();
}

void PodRange::start(TaskGroup& group) { group.spawn("pod range", follow()); }

Task<void> PodRange::follow() {
  for (;;) {
    while (!wanted_ || wanted_ == current_) co_await changed_.wait();
    const Prefix range = *wanted_;
    if (current_) {
      log::warn("app", "this node has another range of pod addresses now",
                {{"old", current_->to_string()}, {"new", range.to_string()}});
    }
    const Result<void> opened = co_await open_(range);
    if (!opened) {
      log::error("app", "pods get no network", {{"error", opened.error()}});
      co_await env_.clock->sleep_for(kRetry);
      continue;
    }
    current_ = range;
    co_await remember(range);
  }
}

}  // namespace skiff::app
