#pragma once

#include <cstdint>

#include "cpu_features.h"
#include "dense.h"

namespace crosscam {

/// Classification over camera-specific identities, and its adversarial counterpart (CCAFL, Eq.
/// 17-19; CAL has the same shape with outfits as classes).
///
/// c is the cosine of a sample and a class; z = scale * phi(c) the logit, where phi applies the
/// angular margin (own class) and the boost (other classes of the own camera). With A = log of the
/// sum of exp(z) over the negative classes, a sample's loss is the sum over its K positive classes
/// of q log(1 + exp(A - z)), q = epsilon / K, plus 1 - epsilon for its own class.
struct CameraAdversarialProblem {
  DenseRows features;               ///< (N, D)
  DenseRows classes;                ///< (G, D) rows of the classifier
  int64_t dim = 0;                  ///< D
  const int64_t* label = nullptr;   ///< (N,) own class; a sample outside [0, G) is left out
  const int64_t* group = nullptr;   ///< (G,) classes of one person; negative: samples are left out.
                                    ///< null: every class is alone
  const int64_t* camera = nullptr;  ///< (G,) null: cameras play no role
  bool ignore_linked = false;       ///< leave out the own person's other classes of the own camera,
                                    ///< which are negatives otherwise
  double epsilon = 0;
  float scale = 1;
  double margin = 0;  ///< radians
  float boost = 0;
  int threads = 0;
  SimdLevel simd = SimdLevel::kScalar;
};

/// Losses of the samples and, where wanted, what they say about the features.
///
/// @param loss (N,) 0 for samples left out
/// @param log_sum (N,) A; -infinity without negatives
/// @param slope (N,) sum over the positives of q / (1 + exp(z - A))
/// @param gradient (N, D) dense, d loss_n / d feature_n; null: not wanted
void camera_adversarial(const CameraAdversarialProblem& problem, float* loss, float* log_sum,
                        float* slope, float* gradient);

/// Gradient of sum over n of weight[n] * loss[n] with respect to the classifier.
///
/// Only for problems without groups. log_sum and slope are those of `camera_adversarial`.
///
/// @param gradient (G, D) dense
void camera_classifier_gradient(const CameraAdversarialProblem& problem, const float* weight,
                                const float* log_sum, const float* slope, float* gradient);

}  // namespace crosscam
