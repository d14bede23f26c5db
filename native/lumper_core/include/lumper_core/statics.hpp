#pragma once

#include <vector>

#include "lumper_core/block_cholesky.hpp"
#include "lumper_core/contacts.hpp"

namespace lumper_core {

/// A wrench on a box besides gravity: force at its centre and torque about it, trailer axes.
struct Load {
  int32_t slot = 0;
  Vec3 force = Vec3::Zero();
  Vec3 torque = Vec3::Zero();
};

/// What happens when boxes are taken away.
struct Removal {
  Verdict verdict = Verdict::kUndecided;
  double acceleration = 0.0;  ///< largest of any point of another box, m/s^2
  int boxes_solved = 0;
  int iterations = 0;
  double seconds = 0.0;  ///< CPU time of this thread
  uint64_t certificate = 0;
  std::vector<int32_t> falls;  ///< slots, worst first
};

/// Proof of one verdict, checkable by `check` without the solver.
struct Certificate {
  Removal removal;
  std::vector<uint32_t> removed;  ///< ids
  std::vector<Vec3> forces;       ///< on body b of every patch point (patch-major, Patch::kMaxPoints each); STABLE only
  std::vector<Vec6> direction;    ///< of every slot: linear m/s^2, angular rad/s^2; COLLAPSES only
  std::vector<Vec6> relief;       ///< of every slot: N, Nm: what the standing pile needs from something not modelled
};

/// Empty: the certificate proves its verdict. Else what is wrong with it.
std::string check(const ContactGraph& graph, const Certificate& certificate);

/// Balance of a standing pile and of every removal (Gauss' principle of least constraint with unilateral frictional
/// contacts; docs/planning-core.md). Works on one graph; call `update` after the graph changed.
class Statics {
 public:
  explicit Statics(const ContactGraph& graph);

  /// Balance the pile as it stands. What the model cannot explain becomes relief: a wrench taken as given from then on.
  void update();
  const Removal& standing() const { return standing_; }
  /// Take `removed` away and put `loads` on. With `StaticsParameters::verify` a verdict whose certificate `check`
  /// refuses is undecided.
  Removal analyse(const std::vector<int32_t>& removed, const std::vector<Load>& loads = {});
  Certificate certify(const std::vector<int32_t>& removed);
  /// Something rests on one of these boxes, and all that does has another support: no rule of thumb settles the
  /// removal.
  bool nontrivial(const std::vector<int32_t>& slots) const;
  /// All that presses up on a box from below in the stored balance, N.
  double load_on(int32_t slot) const;
  /// Force that box `upper` puts on box `lower` in the stored balance, N.
  double load_between(int32_t lower, int32_t upper) const;
  const std::vector<Vec6>& relief() const { return relief_; }

 private:
  static constexpr int kGenerators = 4;
  static constexpr int kStride = Patch::kMaxPoints * kGenerators;

  struct LocalPatch {
    int32_t patch;
    int32_t a, b;  // index in the set, or -1
    int count;
    int generators;
    double mu;
    Vec3 normal, tangent1, tangent2;
    std::array<Vec3, Patch::kMaxPoints> arm;  // from the centre of b, or of a where only that moves; by kLength
    Vec3 apart;                               // from the centre of a to that of b, by kLength; where both move
    std::array<double, kStride> previous, lambda, value, change;
    uint32_t active;     // generators that carry or may carry force now, one bit each
    uint32_t assembled;  // the same when the blocks below were computed
    Mat6 aa, bb, ab;     // share of the Hessian
  };
  using Wrenches = std::vector<Vec6, Eigen::aligned_allocator<Vec6>>;
  enum class Outcome { kBalanced, kMoves, kLimit };
  struct Undo {
    int32_t index;
    std::array<double, kStride> lambda;
  };

  void resize();
  void begin(const std::vector<int32_t>& removed);
  void end();
  void touch_patch(int32_t patch);
  void touch_slot(int32_t slot);
  void wake(int32_t slot);
  Outcome run(Removal* removal, bool standing);
  void gather(const std::vector<int32_t>& set, bool lower_only);
  static void approach(const LocalPatch& local, const Wrenches& motion, Vec3* linear, Vec3* angular);
  double evaluate();
  double evaluate_at_rest();
  bool assemble();
  Outcome solve(const std::vector<int32_t>& set, bool lower_only);
  void commit(const std::vector<int32_t>& set);
  void report(Removal* removal);
  bool rests_on_set(int32_t slot) const;

  const ContactGraph* graph_;
  std::vector<double> lambda_;
  Wrenches external_, residual_, velocity_;
  std::vector<Vec6> relief_;
  std::vector<double> mass_;
  std::vector<Mat3> inertia_;
  std::vector<uint32_t> patch_stamp_, slot_stamp_, removed_stamp_, member_stamp_, local_stamp_;
  std::vector<int32_t> local_index_;
  uint32_t epoch_ = 0;
  uint32_t member_epoch_ = 0;
  uint32_t local_epoch_ = 0;
  std::vector<Undo> undo_patches_;
  std::vector<std::pair<int32_t, Vec6>> undo_slots_;
  std::vector<std::pair<int32_t, Vec6>> undo_external_;
  std::vector<std::pair<double, int32_t>> heap_, ranked_;
  std::vector<int32_t> set_, single_;
  const std::vector<int32_t>* current_set_ = nullptr;
  std::vector<LocalPatch, Eigen::aligned_allocator<LocalPatch>> locals_;
  size_t local_count_ = 0;
  Wrenches v_, gradient_, step_, rest_;
  BlockCholesky matrix_;
  bool factored_ = false;
  int iterations_ = 0;
  int largest_set_ = 0;
  uint64_t pile_hash_ = 0;
  Removal standing_;
};

/// Balance a pile that is known to stand. Where the cautious contacts cannot carry what stands on them, it is the
/// caution that is wrong: those boxes get their contacts as seen, and only what then still lacks becomes relief.
void settle(ContactGraph* graph, Statics* statics);

}  // namespace lumper_core
