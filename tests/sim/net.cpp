#include "net.hpp"

#include <memory>

namespace skiff::sim {

Duration Net::delay(int from, int to) {
  Duration d = dice_.between(manners.low, manners.high);
  const auto it = slow_.find({from, to});
  if (it != slow_.end()) {
    d = Duration(static_cast<Duration::rep>(static_cast<double>(d.count()) * it->second));
  }
  return d;
}

void Net::arrive(int to, Duration delay, std::function<void()> deliver) {
  world_.after(delay, [this, to, deliver = std::move(deliver)]() mutable {
    const auto held = held_.find(to);
    if (held != held_.end()) {
      held->second.push_back(std::move(deliver));
    } else {
      deliver();
    }
  });
}

void Net::datagram(int from, int to, std::string frame, std::function<void(std::string)> deliver) {
  world_.count(Count::messages);
  if (cut(from, to) || dice_.chance(manners.loss)) {
    world_.count(Count::lost);
    return;
  }
  int copies = 1;
  if (dice_.chance(manners.duplicate)) {
    world_.count(Count::duplicated);
    copies = 2;
  }
  const auto shared = std::make_shared<const std::string>(std::move(frame));
  const auto call = std::make_shared<std::function<void(std::string)>>(std::move(deliver));
  for (int i = 0; i < copies; ++i) {
    Duration d = delay(from, to);
    if (dice_.chance(manners.late)) {
      world_.count(Count::reordered);
      d += dice_.between(Duration{}, std::chrono::milliseconds(500));
    }
    const bool damaged = !shared->empty() && dice_.chance(manners.damage);
    const std::size_t where = damaged ? dice_.below(shared->size()) : 0;
    const bool cut_short = damaged && dice_.chance(0.3);
    arrive(to, d, [this, from, to, shared, call, damaged, where, cut_short] {
      if (cut(from, to)) {
        world_.count(Count::lost);
        return;
      }
      std::string bytes = *shared;
      if (cut_short) {
        bytes.resize(where);
      } else if (damaged) {
        bytes[where] = static_cast<char>(bytes[where] ^ 0x20);
      }
      (*call)(std::move(bytes));
    });
  }
}

bool Net::message(int from, int to, std::function<void()> deliver) {
  if (cut(from, to)) return false;
  Duration d = delay(from, to);
  if (dice_.chance(manners.loss)) d += dice_.between(std::chrono::milliseconds(200), 3s);
  arrive(to, d, [this, from, to, deliver = std::move(deliver)] {
    if (!cut(from, to)) deliver();
  });
  return true;
}

void Net::heal() {
  cut_.clear();
  slow_.clear();
}

void Net::release(int host) {
  auto waiting = std::move(held_[host]);
  held_.erase(host);
  for (const auto& deliver : waiting) deliver();
}

}  // namespace skiff::sim
