// Plans walls as a C++ user does and prints the plans to the last bit, for test_python.py to hold against the module's.
//
// Input, numbers apart by white space: walls, then for each: boxes, then for each box id, position (3), orientation x y
// z w, size (3), size_unknown, pose_sigma (6), size_sigma (3), mass, mass_sigma, friction, confidence, visible_faces.

#include <cinttypes>
#include <cstdio>
#include <iostream>
#include <vector>

#include "lumper_core/plan.hpp"

namespace {

double number() {
  std::string word;
  std::cin >> word;
  return std::strtod(word.c_str(), nullptr);
}

lumper_core::Box box() {
  lumper_core::Box read;
  read.id = static_cast<uint32_t>(number());
  for (int k = 0; k < 3; ++k) {
    read.position[k] = number();
  }
  for (int k = 0; k < 4; ++k) {
    read.orientation.coeffs()[k] = number();
  }
  for (int k = 0; k < 3; ++k) {
    read.size[k] = number();
  }
  read.size_unknown = static_cast<uint8_t>(number());
  for (double& sigma : read.pose_sigma) {
    sigma = number();
  }
  for (double& sigma : read.size_sigma) {
    sigma = number();
  }
  read.mass = number();
  read.mass_sigma = number();
  read.friction = number();
  read.confidence = number();
  read.visible_faces = static_cast<uint8_t>(number());
  return read;
}

}  // namespace

int main() {
  const auto walls = static_cast<size_t>(number());
  lumper_core::Planner planner({}, {}, {}, {}, {}, {});
  for (size_t w = 0; w < walls; ++w) {
    std::vector<lumper_core::Box> boxes(static_cast<size_t>(number()));
    for (lumper_core::Box& one : boxes) {
      one = box();
    }
    lumper_core::PlanRequest request;
    request.base = {4.0, 0.0, 0.0};
    request.budget_s = 60.0;
    const lumper_core::Plan plan = planner.plan(boxes, request);
    std::printf("plan %d %a %a %zu\n", static_cast<int>(plan.outcome), plan.expected_s, plan.advance_base_m,
                plan.picks.size());
    for (const lumper_core::Pick& pick : plan.picks) {
      const lumper_core::Grasp& grasp = pick.grasp;
      std::printf("pick %d %u %a %a %a %a %" PRIu64 "\n", grasp.count, grasp.ids[0], grasp.position.x(),
                  grasp.position.y(), grasp.position.z(), pick.predicted_accel_mps2, pick.certificate);
    }
    for (const lumper_core::Rejection& rejection : plan.rejected) {
      std::printf("not %u %d %a\n", rejection.carton_id, static_cast<int>(rejection.reason), rejection.figure);
    }
  }
  return 0;
}
