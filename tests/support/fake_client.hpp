// A small API server in memory, for tests of what stands on client::Client: resourceVersions and
// conflicts, generateName, uids, generations, finalizers, graceful pod deletion, the status
// subresource, watches. No defaulting, no validation, no admission.
#pragma once

#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "skiff/client/client.hpp"

namespace skiff::test {

using api::ObjectPtr;
using api::Value;
using client::Ref;

class FakeClient final : public client::Client {
 public:
  explicit FakeClient(Env env);
  ~FakeClient() override;

  Task<Result<ObjectPtr>> get(Ref ref) override;
  Task<Result<client::List>> list(Ref ref, client::ListOptions options) override;
  Task<Result<std::unique_ptr<client::WatchStream>>> watch(Ref ref,
                                                           client::ListOptions options) override;
  Task<Result<ObjectPtr>> create(Ref ref, Value object,
                                 client::WriteOptions options = client::WriteOptions()) override;
  Task<Result<ObjectPtr>> update(Ref ref, Value object,
                                 client::WriteOptions options = client::WriteOptions()) override;
  Task<Result<ObjectPtr>> patch(Ref ref, api::PatchType type, Value patch,
                                client::WriteOptions options = client::WriteOptions()) override;
  Task<Result<ObjectPtr>> remove(Ref ref,
                                 client::DeleteOptions options = client::DeleteOptions()) override;
  Task<std::vector<Result<ObjectPtr>>> batch(std::vector<client::Write> writes) override;

  // The same at once, for the test itself. apply creates, or replaces spec, labels and so on of
  // what is there (status too when the document has one).
  ObjectPtr find(const Ref& ref) const;
  std::vector<ObjectPtr> all(const Ref& ref) const;  // by namespace and name
  Result<ObjectPtr> create_now(const Ref& ref, Value object);
  Result<ObjectPtr> update_now(const Ref& ref, Value object);
  Result<ObjectPtr> patch_now(const Ref& ref, const Value& patch);  // merge patch
  Result<ObjectPtr> remove_now(const Ref& ref,
                               client::DeleteOptions options = client::DeleteOptions());

  // Every later watch of a revision up to now fails with expired; running ones break with `error`.
  void break_watches(Error error, bool forget_history);

  // Asked before every write ("create", "update", "patch", "remove"); an Error refuses it.
  std::function<std::optional<Error>(std::string_view verb, const Ref& ref)> refuse;

  std::int64_t revision = 0;
  std::size_t writes = 0;   // accepted
  std::size_t batches = 0;  // calls of batch()
  std::size_t lists = 0;

 private:
  struct Stream;
  struct Event {
    client::WatchEvent event;
    ObjectPtr previous;
    std::string type_key;
  };
  using Objects = std::map<api::NamespacedName, ObjectPtr>;

  static std::string type_key(const Ref& ref) { return ref.group + "/" + ref.resource; }
  Result<ObjectPtr> store(const Ref& ref, Value object, ObjectPtr previous);
  ObjectPtr erase(const Ref& ref, const ObjectPtr& object);
  void publish(const Ref& ref, client::WatchEvent::Type type, ObjectPtr object, ObjectPtr previous);
  Result<ObjectPtr> current(const Ref& ref) const;
  Result<ObjectPtr> replace(const Ref& ref, Value object, const ObjectPtr& old);
  Result<ObjectPtr> write_now(client::Write write);
  Result<ObjectPtr> bind(const Ref& ref, const Value& binding);  // pods/NAME/binding

  Env env_;
  std::map<std::string, Objects> objects_;
  std::vector<Event> history_;
  std::int64_t forgotten_ = 0;
  std::list<Stream*> streams_;
};

}  // namespace skiff::test
