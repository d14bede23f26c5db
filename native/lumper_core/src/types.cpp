#include "lumper_core/types.hpp"

#include <time.h>

#include <cmath>
#include <sstream>
#include <unordered_map>

namespace lumper_core {

double thread_cpu_s() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

uint64_t fnv1a(const void* data, size_t size, uint64_t hash) {
  const auto* bytes = static_cast<const unsigned char*>(data);
  for (size_t i = 0; i < size; ++i) {
    hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
  }
  return hash;
}

namespace {

constexpr double kMaxCoordinate_m = 1000.0;
constexpr double kMaxSize_m = 20.0;
constexpr double kMinSize_m = 1e-3;
constexpr double kMaxMass_kg = 1e5;
constexpr double kUnitTolerance = 1e-3;

[[noreturn]] void fail(const Box& box, size_t index, const char* field, double value, const char* remedy) {
  std::ostringstream text;
  text << "box " << box.id << " (row " << index << "): " << field << " = " << value << ": " << remedy;
  throw InputError(box.id, index, field, text.str());
}

void check_range(const Box& box, size_t index, const char* field, double value, double low, double high,
                 const char* remedy) {
  if (!(value >= low && value <= high)) {
    fail(box, index, field, value, remedy);
  }
}

}  // namespace

std::vector<Box> checked(std::vector<Box> boxes, const StaticsParameters& parameters,
                         std::vector<std::string>* warnings) {
  if (static_cast<double>(boxes.size()) > parameters.max_boxes) {
    std::ostringstream text;
    text << boxes.size() << " boxes are more than max_boxes = " << parameters.max_boxes
         << ": pass the boxes near the pile's front only, or raise max_boxes";
    throw InputError(std::nullopt, std::nullopt, "max_boxes", text.str());
  }
  std::unordered_map<uint32_t, size_t> seen;
  for (size_t i = 0; i < boxes.size(); ++i) {
    Box& box = boxes[i];
    if (!seen.emplace(box.id, i).second) {
      std::ostringstream text;
      text << "box " << box.id << " (row " << i << "): id appears twice (first in row " << seen[box.id]
           << "): give every box its own id";
      throw InputError(box.id, i, "id", text.str());
    }
    for (int k = 0; k < 3; ++k) {
      check_range(box, i, "position", box.position[k], -kMaxCoordinate_m, kMaxCoordinate_m,
                  "must be finite and within 1000 m of the trailer's origin");
      check_range(box, i, "size", box.size[k], kMinSize_m, kMaxSize_m, "must be between 0.001 and 20 m");
      check_range(box, i, "size_sigma", box.size_sigma[static_cast<size_t>(k)], 0.0, kMaxSize_m,
                  "must be finite and not negative");
    }
    for (const double sigma : box.pose_sigma) {
      check_range(box, i, "pose_sigma", sigma, 0.0, kMaxSize_m, "must be finite and not negative");
    }
    const double norm = box.orientation.norm();
    check_range(box, i, "orientation", norm, 1.0 - kUnitTolerance, 1.0 + kUnitTolerance,
                "norm must be 1 within 0.001: pass a unit quaternion x y z w");
    if (std::abs(norm - 1.0) > 1e-6 && warnings != nullptr) {
      std::ostringstream text;
      text << "box " << box.id << ": orientation had norm " << norm << ", normalised";
      warnings->push_back(text.str());
    }
    box.orientation.normalize();
    check_range(box, i, "mass", box.mass, 1e-3, kMaxMass_kg, "must be between 0.001 and 100000 kg");
    check_range(box, i, "mass_sigma", box.mass_sigma, 0.0, kMaxMass_kg, "must be finite and not negative");
    check_range(box, i, "friction", box.friction, 0.0, 10.0, "must be between 0 and 10");
    check_range(box, i, "confidence", box.confidence, 0.0, 1.0, "must be between 0 and 1");
  }
  return boxes;
}

}  // namespace lumper_core
