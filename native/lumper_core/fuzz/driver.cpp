// Feeds a fuzz target with seeded random bytes for a bounded CPU time, then stops. The target has libFuzzer's
// signature, so that it also builds with -fsanitize=fuzzer and without this file.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10.0;
  const unsigned long first = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 1UL;
  unsigned long runs = 0;
  for (; static_cast<double>(std::clock()) / CLOCKS_PER_SEC < seconds; ++runs) {
    std::mt19937_64 random(first + runs);
    std::vector<uint8_t> data(random() % 2048);
    for (uint8_t& byte : data) {
      byte = static_cast<uint8_t>(random());
    }
    LLVMFuzzerTestOneInput(data.data(), data.size());
  }
  std::printf("%lu inputs from seed %lu, no fault\n", runs, first);
  return 0;
}
