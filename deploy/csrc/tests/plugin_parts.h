#pragma once

// TensorRT as a plugin sees it: shapes that are expressions, descriptions of tensors, a logger.

#include <NvInferRuntime.h>

#include <initializer_list>
#include <memory>
#include <string>
#include <vector>

#include "check.h"

/// An expression that is known by its text, such as "Q" or "10".
class FakeExpression final : public nvinfer1::IDimensionExpr {
 public:
  explicit FakeExpression(std::string text, int64_t value = -1)
      : text(std::move(text)), known_(value) {
    mImpl = &known_;
  }
  ~FakeExpression() noexcept override = default;
  std::string text;

 private:
  struct Known final : nvinfer1::apiv::VDimensionExpr {
    explicit Known(int64_t value) : value(value) {}
    bool isConstant() const override { return value >= 0; }
    int64_t getConstantValue() const override { return value; }
    bool isSizeTensor() const override { return false; }
    int64_t value;
  };
  Known known_;
};

inline std::string text_of(const nvinfer1::IDimensionExpr* expression) {
  return static_cast<const FakeExpression*>(expression)->text;
}

/// Makes expressions, and keeps them as long as it lives.
class FakeBuilder final : public nvinfer1::IExprBuilder {
 public:
  FakeBuilder() : made_(*this) { mImpl = &made_; }
  ~FakeBuilder() noexcept override = default;

  const nvinfer1::IDimensionExpr* keep(const std::string& text, int64_t value = -1) {
    kept_.push_back(std::make_unique<FakeExpression>(text, value));
    return kept_.back().get();
  }

  nvinfer1::DimsExprs shape(const std::vector<std::string>& lengths) {
    nvinfer1::DimsExprs dims{};
    dims.nbDims = static_cast<int32_t>(lengths.size());
    for (size_t i = 0; i < lengths.size(); ++i) dims.d[i] = keep(lengths[i]);
    return dims;
  }

 private:
  struct Made final : nvinfer1::apiv::VExprBuilder {
    explicit Made(FakeBuilder& of) : of(of) {}
    const nvinfer1::IDimensionExpr* constant(int64_t value) override {
      return of.keep(std::to_string(value), value);
    }
    const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation operation,
                                              const nvinfer1::IDimensionExpr& first,
                                              const nvinfer1::IDimensionExpr& second) override {
      return of.keep("(" + text_of(&first) + " " + std::to_string(static_cast<int>(operation)) +
                     " " + text_of(&second) + ")");
    }
    const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                      const nvinfer1::IDimensionExpr&) override {
      CHECK(!"the plugins have no size tensors");
      return nullptr;
    }
    FakeBuilder& of;
  };
  Made made_;
  std::vector<std::unique_ptr<FakeExpression>> kept_;
};

class FakeLogger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, const char* message) noexcept override {
    if (severity == Severity::kERROR) last = message;
  }
  std::string last;
};

class FakeFinder final : public nvinfer1::ILoggerFinder {
 public:
  explicit FakeFinder(FakeLogger& logger) : logger_(logger) {}
  nvinfer1::ILogger* findLogger() override { return &logger_; }

 private:
  FakeLogger& logger_;
};

inline nvinfer1::PluginTensorDesc tensor(nvinfer1::DataType type,
                                         std::initializer_list<int64_t> lengths) {
  nvinfer1::PluginTensorDesc described{};
  described.type = type;
  described.format = nvinfer1::TensorFormat::kLINEAR;
  for (const int64_t length : lengths) described.dims.d[described.dims.nbDims++] = length;
  return described;
}

/// The same while an engine is built: every length between 1 and what is given.
inline std::vector<nvinfer1::DynamicPluginTensorDesc> bounded(
    const std::vector<nvinfer1::PluginTensorDesc>& tensors) {
  std::vector<nvinfer1::DynamicPluginTensorDesc> found;
  for (const auto& each : tensors) {
    nvinfer1::DynamicPluginTensorDesc made{};
    made.desc = each;
    made.max = made.opt = made.min = each.dims;
    for (int32_t i = 0; i < each.dims.nbDims; ++i) made.min.d[i] = 1, made.desc.dims.d[i] = -1;
    found.push_back(made);
  }
  return found;
}
