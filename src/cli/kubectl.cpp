#include "skiff/cli/kubectl.hpp"

#include <algorithm>
#include <cstdio>

#include "session.hpp"
#include "skiff/cli/flags.hpp"

namespace skiff::cli {
namespace {

struct Entry {
  const char* name;
  Verb run;
  const char* usage;
};

constexpr Entry kVerbs[] = {
    {"get", run_get,
     "get TYPE[,TYPE...] [NAME...] | TYPE/NAME  [-o wide|name|json|yaml] [-A] [-l] [-w]"},
    {"apply", run_apply, "apply -f FILE|DIRECTORY|-"},
    {"delete", run_delete, "delete TYPE NAME... | TYPE/NAME... | -f FILE | TYPE --all|-l SELECTOR"},
    {"logs", run_logs, "logs POD|TYPE/NAME [CONTAINER] [-f] [-p] [--tail N] [--since 5m]"},
    {"describe", run_describe, "describe TYPE [NAME...] | TYPE/NAME"},
    {"scale", run_scale, "scale TYPE/NAME --replicas=N"},
    {"rollout", run_rollout, "rollout status|history|undo|restart|pause|resume deployment/NAME"},
};

// The first argument, or a verb further on when flags come before it (`-n x get pods`).
std::vector<std::string>::iterator find_verb(std::vector<std::string>& args) {
  if (args.empty() || args.front().rfind('-', 0) != 0) return args.begin();
  return std::find_if(args.begin(), args.end(), [](const std::string& arg) {
    return std::any_of(std::begin(kVerbs), std::end(kVerbs),
                       [&](const Entry& e) { return arg == e.name; });
  });
}

std::string help(const Flags& flags) {
  std::string out = "usage: skiff kubectl VERB [ARGUMENTS] [FLAGS]\n\n";
  for (const Entry& e : kVerbs) out += std::string("  ") + e.usage + "\n";
  return out + "\nFlags:\n" + flags.help();
}

void add_flags(Flags& f, Request& r, bool* show_help) {
  const bool apply_like = r.verb == "apply" || r.verb == "delete";
  f.add("kubeconfig", &r.kubeconfig, "FILE",
        "default: $KUBECONFIG, else skiff's own, else ~/.kube/config");
  f.add("context", &r.context, "NAME", "context of the kubeconfig");
  f.add("namespace", &r.ns, "NS", "namespace", 'n');
  f.add("all-namespaces", &r.all_namespaces, "", "all namespaces", 'A');
  f.add("output", &r.output, "FORMAT", "wide, name, json or yaml", 'o');
  f.add("selector", &r.selector, "LABELS", "label selector", 'l');
  f.add("field-selector", &r.field_selector, "FIELDS", "field selector");
  if (r.verb == "logs") {
    f.add("follow", &r.follow, "", "keep reading", 'f');
    f.add("previous", &r.previous, "", "the instance before", 'p');
    f.add("timestamps", &r.timestamps, "", "show when");
    f.add("tail", &r.tail, "N", "only the last N lines");
    f.add("since", &r.since, "DURATION", "only what is newer");
    f.add("container", &r.container, "NAME", "container", 'c');
  }
  if (apply_like) {
    f.add("filename", &r.files, "FILE", "file, directory or - for standard input", 'f');
    f.add("recursive", &r.recursive, "", "directories with all below", 'R');
    f.add("dry-run", &r.dry_run, "none|server", "ask the server, change nothing");
  }
  if (r.verb == "delete") {
    f.add("all", &r.all, "", "all of the type");
    f.add("force", &r.force, "", "at once, without grace");
    f.add("grace-period", &r.grace_period, "SECONDS", "time to end in");
    f.add("ignore-not-found", &r.ignore_not_found, "", "absent things are no error");
    f.add("wait", &r.wait, "", "until it is gone (default true)");
  }
  if (r.verb == "get") {
    f.add("watch", &r.watch, "", "then show changes", 'w');
    f.add("no-headers", &r.no_headers, "", "no header line");
    f.add("show-labels", &r.show_labels, "", "labels as last column");
    f.add("ignore-not-found", &r.ignore_not_found, "", "absent things are no error");
  }
  if (r.verb == "scale") f.add("replicas", &r.replicas, "N", "how many");
  if (r.verb == "rollout") {
    f.add("timeout", &r.timeout, "DURATION", "give up after");
    f.add("to-revision", &r.to_revision, "N", "undo: that revision");
  }
  f.add("help", show_help, "", "show this", 'h');
}

Task<void> run(Env env, Request request, Verb verb, int* exit_code) {
  const std::string path = find_kubeconfig(
      request.data_dir.empty() ? request.kubeconfig : request.data_dir + "/kubeconfig");
  const std::string context = request.context;
  auto access = co_await client::load_kubeconfig(env, path, context);
  Result<int> result = 1;
  if (access) {
    Session session(env, std::move(*access), std::move(request));
    result = co_await verb(&session);
  } else {
    result = access.error();
  }
  if (result) {
    *exit_code = *result;
    co_return;
  }
  // What the server refused is marked, as kubectl does; the rest is about the command itself.
  const Error& e = result.error();
  const bool from_server = e.code != Code::bad_request && e.code != Code::unavailable;
  std::fprintf(stderr, "%s: %s\n", from_server ? "Error from server" : "error", e.message.c_str());
  *exit_code = 1;
}

}  // namespace

int kubectl_main(std::vector<std::string> args) {
  Request request;
  bool show_help = false;
  if (const auto verb = find_verb(args); verb != args.end()) {
    request.verb = *verb;
    args.erase(verb);
  }
  Flags flags;
  add_flags(flags, request, &show_help);
  auto words = flags.parse(args);
  if (!words) {
    std::fprintf(stderr, "error: %s\n", words.error().message.c_str());
    return 1;
  }
  const Entry* entry = nullptr;
  for (const Entry& e : kVerbs) {
    if (request.verb == e.name) entry = &e;
  }
  if (show_help || entry == nullptr) {
    if (entry == nullptr && !request.verb.empty()) {
      std::fprintf(stderr,
                   "error: unknown command \"%s\"; skiff speaks get, apply, delete, logs, "
                   "describe, scale and rollout: use kubectl itself for more\n",
                   request.verb.c_str());
      return 1;
    }
    std::fputs(help(flags).c_str(), show_help ? stdout : stderr);
    return show_help ? 0 : 1;
  }
  request.words = std::move(*words);
  return run_verb(std::move(request), entry->run);
}

int run_verb(Request request, Verb verb) {
  RealClock clock;
  SystemRandom random;
  metrics::Registry metrics;
  BlockingPool blocking(1);
  asio::io_context io(1);
  const Env env{io.get_executor(), &clock, &random, &metrics, &blocking};
  int exit_code = 1;
  asio::co_spawn(io, run(env, std::move(request), verb, &exit_code), [](std::exception_ptr error) {
    if (error) std::rethrow_exception(error);
  });
  io.run();
  return exit_code;
}

}  // namespace skiff::cli
