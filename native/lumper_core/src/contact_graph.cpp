#include <algorithm>
#include <sstream>

#include "lumper_core/contacts.hpp"

namespace lumper_core {
namespace {

constexpr double kCell_m = 0.5;

}  // namespace

ContactGraph::ContactGraph(const Trailer& trailer, const StaticsParameters& parameters)
    : trailer_(trailer), parameters_(parameters) {}

int64_t ContactGraph::cell_key(int x, int y, int z) const {
  return ((static_cast<int64_t>(x) & 0x1fffff) << 42) | ((static_cast<int64_t>(y) & 0x1fffff) << 21) |
         (static_cast<int64_t>(z) & 0x1fffff);
}

template <typename F>
void ContactGraph::for_cells(const Vec3& low, const Vec3& high, F visit) const {
  const Eigen::Vector3i from = (low / kCell_m).array().floor().cast<int>();
  const Eigen::Vector3i to = (high / kCell_m).array().floor().cast<int>();
  for (int x = from.x(); x <= to.x(); ++x) {
    for (int y = from.y(); y <= to.y(); ++y) {
      for (int z = from.z(); z <= to.z(); ++z) {
        visit(cell_key(x, y, z));
      }
    }
  }
}

int32_t ContactGraph::slot_of(uint32_t id) const {
  const auto found = slot_of_id_.find(id);
  return found == slot_of_id_.end() ? -1 : found->second;
}

void ContactGraph::query(const Vec3& low, const Vec3& high, double margin_m, std::vector<int32_t>* slots) const {
  slots->clear();
  const Vec3 margin = Vec3::Constant(margin_m);
  const Vec3 from = low - margin;
  const Vec3 to = high + margin;
  for_cells(from, to, [&](int64_t key) {
    const auto cell = cells_.find(key);
    if (cell == cells_.end()) {
      return;
    }
    for (const int32_t slot : cell->second) {
      const auto s = static_cast<size_t>(slot);
      if ((low_[s].array() <= to.array()).all() && (high_[s].array() >= from.array()).all()) {
        slots->push_back(slot);
      }
    }
  });
  std::sort(slots->begin(), slots->end());
  slots->erase(std::unique(slots->begin(), slots->end()), slots->end());
}

void ContactGraph::store(const Patch& patch) {
  int32_t index;
  if (free_patches_.empty()) {
    index = static_cast<int32_t>(patches_.size());
    patches_.push_back(patch);
  } else {
    index = free_patches_.back();
    free_patches_.pop_back();
    patches_[static_cast<size_t>(index)] = patch;
  }
  if (patch.a >= 0) {
    adjacent_[static_cast<size_t>(patch.a)].push_back(index);
  }
  adjacent_[static_cast<size_t>(patch.b)].push_back(index);
}

void ContactGraph::discard(int32_t index) {
  Patch& patch = patches_[static_cast<size_t>(index)];
  for (const int32_t body : {patch.a, patch.b}) {
    if (body >= 0) {
      auto& list = adjacent_[static_cast<size_t>(body)];
      list.erase(std::find(list.begin(), list.end(), index));
    }
  }
  patch.count = patch.seen_count = 0;
  patch.a = 0;
  patch.trust = Trust::kSure;
  free_patches_.push_back(index);
}

int32_t ContactGraph::add(const Box& box) {
  int32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<int32_t>(boxes_.size());
    boxes_.push_back(box);
    alive_.push_back(0);
    low_.emplace_back();
    high_.emplace_back();
    adjacent_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
    boxes_[static_cast<size_t>(slot)] = box;
  }
  const auto s = static_cast<size_t>(slot);
  const Mat3 axes = box.orientation.toRotationMatrix();
  const Vec3 half = axes.cwiseAbs() * (0.5 * box.size);
  low_[s] = box.position - half;
  high_[s] = box.position + half;

  const double margin = std::max(parameters_.vertical_tolerance_m, parameters_.side_tolerance_m);
  query(low_[s], high_[s], margin, &scratch_);
  for (const int32_t other : scratch_) {
    const Box& neighbour = boxes_[static_cast<size_t>(other)];
    double deepest = 0.0;
    Patch patch = box_contact(neighbour, box, parameters_, &deepest);
    if (deepest > parameters_.max_penetration_m) {
      std::ostringstream text;
      text << "boxes " << neighbour.id << " and " << box.id << " interpenetrate by " << deepest
           << " m: treated as touching";
      warnings_.push_back(text.str());
    }
    if (patch.count == 0 && patch.seen_count == 0) {
      continue;
    }
    patch.a = other;
    patch.b = slot;
    if (patch.support && patch.normal.z() < 0.0) {
      std::swap(patch.a, patch.b);
      patch.normal = -patch.normal;
      patch.tangent2 = -patch.tangent2;
    }
    store(patch);
  }
  std::vector<Patch> environment;
  environment_contacts(box, slot, trailer_, parameters_, &environment);
  for (const Patch& patch : environment) {
    store(patch);
  }
  for_cells(low_[s], high_[s], [&](int64_t key) { cells_[key].push_back(slot); });
  alive_[s] = 1;
  slot_of_id_[box.id] = slot;
  ++version_;
  return slot;
}

void ContactGraph::remove(int32_t slot) {
  const auto s = static_cast<size_t>(slot);
  while (!adjacent_[s].empty()) {
    discard(adjacent_[s].back());
  }
  for_cells(low_[s], high_[s], [&](int64_t key) {
    auto& cell = cells_[key];
    cell.erase(std::find(cell.begin(), cell.end(), slot));
  });
  alive_[s] = 0;
  slot_of_id_.erase(boxes_[s].id);
  free_slots_.push_back(slot);
  ++version_;
}

std::vector<std::string> ContactGraph::warnings() const {
  std::vector<std::string> all = warnings_;
  for (const Patch& patch : patches_) {
    if (patch.a == kUnseen) {
      all.push_back("box " + std::to_string(box(patch.b).id) +
                    " has nothing seen under it: taken to stand on something unseen");
    }
  }
  return all;
}

void ContactGraph::clear() { *this = ContactGraph(trailer_, parameters_); }

}  // namespace lumper_core
