#include "controller.hpp"

namespace skiff::controllers {

Task<Result<ObjectPtr>> LoopController::create(Ref ref, Value object) const {
  client::WriteOptions options;
  co_return co_await context_.client->create(ref, std::move(object), options);
}

Task<Result<ObjectPtr>> LoopController::update(Ref ref, Value object) const {
  client::WriteOptions options;
  co_return co_await context_.client->update(ref, std::move(object), options);
}

Task<Result<ObjectPtr>> LoopController::update_status(Ref ref, ObjectPtr object,
                                                      Value status) const {
  Value next = object->root();
  next.set("status", std::move(status));
  Ref at = ref.at(object->key()).sub("status");
  client::WriteOptions options;
  co_return co_await context_.client->update(at, std::move(next), options);
}

Task<Result<ObjectPtr>> LoopController::remove(Ref ref, ObjectPtr object) const {
  client::DeleteOptions options;
  options.propagation_policy = "Background";
  options.uid = object->uid();
  Ref at = ref.at(object->key());
  co_return co_await context_.client->remove(at, options);
}

}  // namespace skiff::controllers
