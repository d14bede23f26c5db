// Any boxes: a plan or an InputError, and two plans of the same boxes are the same.
#include <cstdlib>

#include "input.hpp"
#include "lumper_core/plan.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lumper_core;
  const std::vector<Box> boxes = Input(data, size).boxes();
  PlanRequest request;
  request.base.x = 3.5;
  request.budget_s = 1e9;
  try {
    Planner planner({}, {}, {}, {}, {}, {});
    const Plan first = planner.plan(boxes, request);
    const Plan second = planner.plan(boxes, request);
    if (first.picks.size() != second.picks.size() || first.rejected.size() != second.rejected.size()) {
      std::abort();
    }
    for (size_t i = 0; i < first.picks.size(); ++i) {
      if (first.picks[i].certificate != second.picks[i].certificate) {
        std::abort();
      }
    }
  } catch (const InputError&) {
  }
  return 0;
}
