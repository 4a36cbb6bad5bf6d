// What every namespace is given: the ServiceAccount "default", and the ConfigMap kube-root-ca.crt
// with the CA bundle that pods verify the API server with.
#include "controller.hpp"
#include "objects.hpp"

namespace skiff::controllers {
namespace {

constexpr const char* kAccount = "default";
constexpr const char* kConfigMap = "kube-root-ca.crt";
constexpr const char* kCaKey = "ca.crt";

client::ListOptions only(const char* name) {
  client::ListOptions options;
  options.field_selector = std::string("metadata.name=") + name;
  return options;
}

// Lost races that the caches will show, and namespaces on their way out.
bool routine(const Error& error) {
  return error.code == Code::already_exists || error.code == Code::not_found ||
         namespace_terminating(error);
}

// Keeps one object of a fixed name in every namespace that is not being deleted.
class PerNamespace : public LoopController {
 public:
  PerNamespace(Context context, const Ref& ref, const char* object)
      : LoopController(context),
        ref_(ref),
        object_name_(object),
        namespaces_(informer(resources::kNamespaces)),
        objects_(context.informers->get(ref, only(object))) {}

  void watch(WorkQueue& queue) override {
    namespaces_.add_handler([&queue](const ObjectPtr&, const ObjectPtr& current) {
      if (current && !current->deleting()) queue.add({"", current->name()});
    });
    objects_.add_handler([&queue](const ObjectPtr& previous, const ObjectPtr& current) {
      queue.add({"", (current ? current : previous)->ns()});
    });
  }

  Task<Result<Outcome>> reconcile(NamespacedName key) override {
    Outcome outcome;
    const ObjectPtr ns = namespaces_.get(key);
    if (!ns || ns->deleting()) co_return outcome;
    const ObjectPtr present = objects_.get(key.name, object_name_);
    if (present && fits(*present)) co_return outcome;
    Value wanted = make(key.name, present);
    Ref at = ref_.at(key.name, present ? object_name_ : "");
    Result<ObjectPtr> written{Error{}};
    if (present) {
      written = co_await update(at, std::move(wanted));
    } else {
      written = co_await create(at, std::move(wanted));
    }
    if (written) {
      outcome.wrote(objects_, **written);
    } else if (!routine(written.error())) {
      co_return written.error();
    }
    co_return outcome;
  }

 protected:
  virtual bool fits(const api::Object& present) const = 0;
  virtual Value make(const std::string& ns, const ObjectPtr& present) const = 0;

  const Ref& ref_;
  std::string object_name_;
  Informer& namespaces_;
  Informer& objects_;
};

class ServiceAccountController final : public PerNamespace {
 public:
  explicit ServiceAccountController(Context context)
      : PerNamespace(context, resources::kServiceAccounts, kAccount) {}
  std::string_view name() const override { return "serviceaccount"; }

 protected:
  bool fits(const api::Object&) const override { return true; }
  Value make(const std::string& ns, const ObjectPtr&) const override {
    return Value::object({{"apiVersion", "v1"},
                          {"kind", "ServiceAccount"},
                          {"metadata", Value::object({{"name", kAccount}, {"namespace", ns}})}});
  }
};

class RootCaController final : public PerNamespace {
 public:
  RootCaController(Context context, std::string ca_pem)
      : PerNamespace(context, resources::kConfigMaps, kConfigMap), ca_pem_(std::move(ca_pem)) {}
  std::string_view name() const override { return "root-ca-certificate-publisher"; }

 protected:
  bool fits(const api::Object& present) const override {
    const Value& data = present["data"];
    return data.size() == 1 && data[kCaKey].as_string() == ca_pem_;
  }
  Value make(const std::string& ns, const ObjectPtr& present) const override {
    Value map =
        present ? present->root() : Value::object({{"apiVersion", "v1"}, {"kind", "ConfigMap"}});
    Value& meta = map.member("metadata");
    meta.set("name", kConfigMap);
    meta.set("namespace", ns);
    meta.member("annotations")
        .set("kubernetes.io/description",
             "The CA certificates that pods verify the API server's certificate with.");
    map.set("data", Value::object({{kCaKey, ca_pem_}}));
    return map;
  }

 private:
  std::string ca_pem_;
};

}  // namespace

std::unique_ptr<Controller> make_service_account(Context context, const Options&) {
  return std::make_unique<ServiceAccountController>(context);
}

std::unique_ptr<Controller> make_root_ca(Context context, const Options& options) {
  if (options.ca_pem.empty()) return nullptr;
  return std::make_unique<RootCaController>(context, options.ca_pem);
}

}  // namespace skiff::controllers
