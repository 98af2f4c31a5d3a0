// Gradients of depthwise convolutions on a CPU, channels last, as many channels at a time as a
// register holds.
//
// PyTorch leaves them to a generic kernel that takes most of a training step. Here K rows at a time
// lie widened to float and padded with zeros in the first cache, so that inner loops have no
// branches; a row of the weight, or of its gradient, stays in registers while they go by.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#ifdef __AVX512F__
constexpr int LANES = 16;
#else  // wider vectors than the processor's would not stay in registers
constexpr int LANES = 8;
#endif
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

// Rows of an image, or of its gradient, as they come: the last K of them.
template <int K>
struct Rows {
    int64_t width, next = 0;
    std::vector<Floats> values;

    explicit Rows(int64_t width) : width(width), values(K * width) {}
    Floats* at(int64_t row) { return values.data() + row % K * width; }

    // reads up to the row `last`, in which `count` values lie `channels` apart
    template <typename Value>
    void read(const Value* from, int64_t last, int64_t count, int64_t channels) {
        for (; next <= last; next++)
            for (int64_t x = 0; x < count; x++)
                at(next)[K / 2 + x] = load(from + (next * count + x) * channels);
    }
};

struct Shape {
    int64_t count, channels, height, width;  // of the input
    int64_t rows, columns;                   // of the output
};

// sums (K * K, channels) += input * gradient, of one image and LANES channels
template <typename Value, int K, int STRIDE>
void weight_gradient(const Value* input, const Value* gradient, float* sums, Shape s) {
    std::vector<Floats> given(s.columns);
    Rows<K> seen(s.width + K);
    for (int64_t row = 0; row < s.rows; row++) {
        const Value* of_row = gradient + row * s.columns * s.channels;
        for (int64_t x = 0; x < s.columns; x++) given[x] = load(of_row + x * s.channels);
        seen.read(input, std::min(row * STRIDE + K / 2, s.height - 1), s.width, s.channels);
        for (int i = 0; i < K; i++) {
            const int64_t y = row * STRIDE + i - K / 2;
            if (y < 0 || y >= s.height) continue;
            const Floats* values = seen.at(y);
            float* to = sums + i * K * s.channels;
            Floats sum[K];
            for (int j = 0; j < K; j++) sum[j] = load(to + j * s.channels);
            for (int64_t x = 0; x < s.columns; x++)
                for (int j = 0; j < K; j++) sum[j] += given[x] * values[x * STRIDE + j];
            for (int j = 0; j < K; j++) store(to + j * s.channels, sum[j]);
        }
    }
}

// sums of a row, of which every STRIDE-th is meant from FIRST on, += the outputs' gradients
template <int K, int STRIDE, int FIRST>
void gather(const Floats* values, const Floats* taps, std::vector<Floats>& sums) {
    for (size_t x = FIRST; x < sums.size(); x += STRIDE, values++) {
        Floats sum = sums[x];
        for (int j = 0; j < K; j++)
            if ((FIRST + K / 2 - j) % STRIDE == 0)
                sum += values[K / 2 + (FIRST + K / 2 - j) / STRIDE] * taps[j];
        sums[x] = sum;
    }
}

// to (input's shape) = for each pixel the gradients of the outputs it had a part in, weighted
template <typename Value, int K, int STRIDE>
void input_gradient(const Value* gradient, const float* weight, Value* to, Shape s) {
    std::vector<Floats> sums(s.width);
    Rows<K> given(s.columns + K);
    for (int64_t y = 0; y < s.height; y++) {
        std::fill(sums.begin(), sums.end(), Floats{});
        given.read(gradient, std::min((y + K / 2) / STRIDE, s.rows - 1), s.columns, s.channels);
        for (int i = 0; i < K; i++) {
            const int64_t row = y + K / 2 - i;
            if (row < 0 || row % STRIDE || row / STRIDE >= s.rows) continue;
            const Floats* values = given.at(row / STRIDE);
            Floats taps[K];
            for (int j = 0; j < K; j++) taps[j] = load(weight + (i * K + j) * s.channels);
            gather<K, STRIDE, 0>(values, taps, sums);
            if (STRIDE == 2) gather<K, STRIDE, STRIDE - 1>(values, taps, sums);
        }
        Value* row = to + y * s.width * s.channels;
        for (int64_t x = 0; x < s.width; x++) store(row + x * s.channels, sums[x]);
    }
}

// sums (N, K * K, channels); an image's channels one after another, while the cache holds it
template <typename Value, int K, int STRIDE>
void both(const Value* input, const Value* gradient, const float* weight, Value* to, float* sums,
          Shape s) {
    const int64_t blocks = s.channels / LANES;
#pragma omp parallel for
    for (int64_t task = 0; task < s.count * blocks; task++) {
        const int64_t n = task / blocks, c = task % blocks * LANES;
        const int64_t seen = n * s.height * s.width * s.channels + c;
        const Value* given = gradient + n * s.rows * s.columns * s.channels + c;
        weight_gradient<Value, K, STRIDE>(input + seen, given, sums + n * K * K * s.channels + c,
                                          s);
        input_gradient<Value, K, STRIDE>(given, weight + c, to + seen, s);
    }
}

template <typename Value>
void choose(const void* input, const void* gradient, const float* weight, void* to, float* sums,
            Shape s, int64_t kernel, int64_t stride) {
#define WHERE(K, S) \
    if (kernel == K && stride == S) \
        both<Value, K, S>((const Value*)input, (const Value*)gradient, weight, (Value*)to, sums, s);
    WHERE(3, 1) WHERE(3, 2) WHERE(5, 1) WHERE(5, 2) WHERE(7, 1) WHERE(7, 2)
}

// input (N, H, W, C), gradient (N, h, w, C) and to (like input), all in float or all in bfloat16;
// weight (K * K, C); sums (N, K * K, C), zeros: each image's gradient of the weight; padding K / 2
extern "C" void depthwise_backward(const void* input, const void* gradient, const float* weight,
                                   void* to, float* sums, const int64_t* shape, int64_t kernel,
                                   int64_t stride, int bfloat16) {
    const Shape s{shape[0], shape[1], shape[2], shape[3], shape[4], shape[5]};
    (bfloat16 ? choose<uint16_t> : choose<float>)(input, gradient, weight, to, sums, s, kernel,
                                                  stride);
}
