// Gradients of depthwise convolutions on a CPU, channels last, 16 channels at a time.
//
// PyTorch leaves them to a generic kernel that takes most of a training step. Here a row of the
// weight's gradient stays in registers while the picture's row goes by; the input's gradient
// gathers what each of its pixels gave to. float and bfloat16; sums are in float.

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <torch/library.h>

#include <cstdint>
#include <cstring>
#include <tuple>

constexpr int LANES = 16;
typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef uint32_t Words __attribute__((vector_size(4 * LANES)));
typedef uint16_t Halves __attribute__((vector_size(2 * LANES)));

static inline Floats load(const float* from) {
    Floats value;
    memcpy(&value, from, sizeof value);
    return value;
}

static inline Floats load(const uint16_t* from) {  // bfloat16 is the upper half of a float
    Halves half;
    memcpy(&half, from, sizeof half);
    return (Floats)(__builtin_convertvector(half, Words) << 16);
}

static inline void store(float* to, Floats value) { memcpy(to, &value, sizeof value); }

static inline void store(uint16_t* to, Floats value) {  // rounded to the nearest, ties to even
    Words word = (Words)value;
    word += 0x7fff + ((word >> 16) & 1);
    Halves half = __builtin_convertvector(word >> 16, Halves);
    memcpy(to, &half, sizeof half);
}

struct Shape {
    int64_t count, channels, height, width;  // of the input
    int64_t rows, columns;                   // of the output
};

// sums (tasks, K * K, channels) += input * gradient, over the tasks' shares of the output's rows
template <typename Value, int K, int STRIDE>
void weight_gradient(const Value* input, const Value* gradient, float* sums, Shape s, int tasks) {
    const int64_t all = s.count * s.rows;
    at::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
        for (int64_t task = begin; task < end; task++)
            for (int64_t row = all * task / tasks; row < all * (task + 1) / tasks; row++)
                for (int64_t c = 0; c < s.channels; c += LANES)
                    for (int i = 0; i < K; i++) {
                        const int64_t n = row / s.rows, y = row % s.rows * STRIDE + i - K / 2;
                        if (y < 0 || y >= s.height) continue;
                        const Value* seen = input + (n * s.height + y) * s.width * s.channels + c;
                        const Value* given = gradient + row * s.columns * s.channels + c;
                        float* to = sums + (task * K * K + i * K) * s.channels + c;
                        Floats sum[K];
                        for (int j = 0; j < K; j++) sum[j] = load(to + j * s.channels);
                        for (int64_t column = 0; column < s.columns; column++) {
                            const Floats g = load(given + column * s.channels);
                            const int64_t first = column * STRIDE - K / 2;
                            for (int j = 0; j < K; j++) {
                                const int64_t x = first + j;
                                if (x >= 0 && x < s.width) sum[j] += g * load(seen + x * s.channels);
                            }
                        }
                        for (int j = 0; j < K; j++) store(to + j * s.channels, sum[j]);
                    }
    });
}

// to (input's shape) = for each pixel the gradients of the outputs it had a part in, weighted
template <typename Value, int K, int STRIDE>
void input_gradient(const Value* gradient, const float* weight, Value* to, Shape s) {
    at::parallel_for(0, s.count * s.height, 1, [&](int64_t begin, int64_t end) {
        for (int64_t row = begin; row < end; row++)
            for (int64_t c = 0; c < s.channels; c += LANES)
                for (int64_t x = 0; x < s.width; x++) {
                    Floats sum = {};
                    for (int i = 0; i < K; i++) {
                        const int64_t n = row / s.height, y = row % s.height + K / 2 - i;
                        if (y < 0 || y % STRIDE || y / STRIDE >= s.rows) continue;
                        const Value* given =
                            gradient + (n * s.rows + y / STRIDE) * s.columns * s.channels + c;
                        const float* w = weight + i * K * s.channels + c;
                        for (int j = 0; j < K; j++) {
                            const int64_t u = x + K / 2 - j;
                            if (u < 0 || u % STRIDE || u / STRIDE >= s.columns) continue;
                            sum += load(given + u / STRIDE * s.channels) * load(w + j * s.channels);
                        }
                    }
                    store(to + (row * s.width + x) * s.channels + c, sum);
                }
    });
}

template <typename Value>
void both(const Value* input, const Value* gradient, const float* weight, Value* to, float* sums,
          Shape s, int64_t kernel, int64_t stride, int tasks) {
#define WHERE(K, S)                                                     \
    if (kernel == K && stride == S) {                                   \
        weight_gradient<Value, K, S>(input, gradient, sums, s, tasks);  \
        input_gradient<Value, K, S>(gradient, weight, to, s);           \
        return;                                                         \
    }
    WHERE(3, 1) WHERE(3, 2) WHERE(5, 1) WHERE(5, 2) WHERE(7, 1) WHERE(7, 2)
    TORCH_CHECK(false, "no depthwise kernel of size ", kernel, " and stride ", stride);
}

// input (N, C, H, W), gradient (N, C, h, w), weight (C, 1, K, K), padding K / 2 -> their gradients
std::tuple<at::Tensor, at::Tensor> backward(at::Tensor input, at::Tensor gradient,
                                            at::Tensor weight, int64_t stride) {
    const int64_t kernel = weight.size(2), channels = input.size(1);
    TORCH_CHECK(channels % LANES == 0, "channels have to be a multiple of ", LANES);
    const auto last = at::MemoryFormat::ChannelsLast;
    input = input.contiguous(last);
    gradient = gradient.to(input.scalar_type()).contiguous(last);
    const auto taps = weight.to(at::kFloat).reshape({channels, -1}).t().contiguous();
    const Shape s{input.size(0),    channels,         input.size(2),
                  input.size(3),    gradient.size(2), gradient.size(3)};
    const int tasks = 4 * at::get_num_threads();
    auto sums = at::zeros({tasks, kernel * kernel, channels}, at::kFloat);
    auto to = at::empty_like(input, last);
    if (input.scalar_type() == at::kFloat) {
        both(input.data_ptr<float>(), gradient.data_ptr<float>(), taps.data_ptr<float>(),
             to.data_ptr<float>(), sums.data_ptr<float>(), s, kernel, stride, tasks);
    } else {
        TORCH_CHECK(input.scalar_type() == at::kBFloat16, "float32 or bfloat16 is needed");
        both((const uint16_t*)input.data_ptr(), (const uint16_t*)gradient.data_ptr(),
             taps.data_ptr<float>(), (uint16_t*)to.data_ptr(), sums.data_ptr<float>(), s, kernel,
             stride, tasks);
    }
    return {to, sums.sum(0).t().reshape(weight.sizes())};
}

TORCH_LIBRARY(limbwise, library) { library.def("depthwise_backward", &backward); }
