// The Client over HTTPS, for whoever is not in the server's process: the command line, remote
// workers, embedding programs.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "skiff/client/client.hpp"
#include "skiff/http/client.hpp"

namespace skiff::client {

// How to reach a cluster and as whom: one context of a kubeconfig, with every file read.
struct ClusterAccess {
  std::string server;  // "https://host:6443", perhaps with a path; no slash at the end
  std::string ns = "default";
  http::TlsClientOptions tls;
  std::string token;  // bearer token; "" for none
  std::string context;
};

// Reads the context `context` ("": current-context) of the kubeconfig at `path`. Certificates and
// keys may be inline or files, relative to the kubeconfig; a token or tokenFile works too. Users
// that need an exec or auth-provider plug-in, or a password, are refused with a message saying so.
Task<Result<ClusterAccess>> load_kubeconfig(Env env, std::string path, std::string context = "");

// The Error a non-2xx answer stands for: from its Status body, else from the HTTP status alone.
Error error_from_answer(int status, std::string_view body);
// The same from a Status document.
Error error_from_status(const Value& status);

// The URL path of a reference: "/apis/apps/v1/namespaces/default/deployments/web/scale".
std::string path_of(const Ref& ref);

class HttpClient final : public Client {
 public:
  HttpClient(Env env, ClusterAccess access, std::string user_agent = "skiff");
  ~HttpClient() override;

  Task<Result<ObjectPtr>> get(Ref ref) override;
  // Fills in apiVersion and kind of the items, which the wire leaves out.
  Task<Result<List>> list(Ref ref, ListOptions options) override;
  Task<Result<std::unique_ptr<WatchStream>>> watch(Ref ref, ListOptions options) override;
  Task<Result<ObjectPtr>> create(Ref ref, Value object,
                                 WriteOptions options = WriteOptions()) override;
  Task<Result<ObjectPtr>> update(Ref ref, Value object,
                                 WriteOptions options = WriteOptions()) override;
  Task<Result<ObjectPtr>> patch(Ref ref, api::PatchType type, Value patch,
                                WriteOptions options = WriteOptions()) override;
  Task<Result<ObjectPtr>> remove(Ref ref, DeleteOptions options = DeleteOptions()) override;
  // Eight requests at a time; writes of one object keep no order.
  Task<std::vector<Result<ObjectPtr>>> batch(std::vector<Write> writes) override;

  // For what Client has no word for: discovery, Tables, logs. `url` is a path with query
  // ("/api/v1/pods?limit=1"); the credentials are added. Any status is an answer.
  Task<Result<http::ClientResponse>> request(http::ClientRequest request);
  Task<Result<std::unique_ptr<http::ResponseStream>>> stream(http::ClientRequest request);

  const ClusterAccess& access() const noexcept;
  // New credentials for new connections, e.g. after a certificate was renewed.
  Result<void> set_access(ClusterAccess access);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace skiff::client
