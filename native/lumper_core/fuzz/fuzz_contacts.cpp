// Any boxes: contacts kept up to date by add and remove equal those built afresh, and certificates verify.
#include <cstdlib>

#include "input.hpp"
#include "lumper_core/statics.hpp"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lumper_core;
  std::vector<Box> boxes;
  try {
    boxes = checked(Input(data, size).boxes(), {}, nullptr);
  } catch (const InputError&) {
    return 0;
  }
  ContactGraph graph({}, {});
  for (const Box& box : boxes) {
    graph.add(box);
  }
  Statics statics(graph);
  statics.update();
  const size_t before = graph.patches().size();
  for (const Box& box : boxes) {
    const Certificate certificate = statics.certify({graph.slot_of(box.id)});
    if (certificate.removal.verdict != Verdict::kUndecided && !check(graph, certificate).empty()) {
      std::abort();
    }
  }
  for (const Box& box : boxes) {
    const int32_t slot = graph.slot_of(box.id);
    const size_t touching = graph.patches_of(slot).size();
    graph.remove(slot);
    if (graph.patches_of(graph.add(box)).size() != touching || graph.patches().size() > before) {
      std::abort();
    }
  }
  return 0;
}
