// Batch norm with a quadratic activation, and the cyclic padding, in bfloat16 on channels-last tensors [rows, channels]:
// what PyTorch's compiler makes of the same formulas (activation.py, convolution.py) takes several times as long, because it
// reduces over rows on one core and derives the padding's gradient element by element. Used by fused.py, tested against the modules.
//
// Channels are a multiple of 16. Vector types are GCC's, for any processor. Sums do not depend on timing: a thread has its rows and its slot.

#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LANES = 16, BLOCK = 256 }; // rows whose sums single precision holds

typedef float floats __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint32_t words __attribute__((vector_size(4 * LANES), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2)));

static inline floats load(const uint16_t *p) {
    return (floats)(__builtin_convertvector(*(const halves *)p, words) << 16);
}

static inline void store(uint16_t *p, floats x) { // to nearest, ties to even
    words w = (words)x;
    *(halves *)p = __builtin_convertvector((w + 0x7fff + ((w >> 16) & 1)) >> 16, halves);
}

static inline floats clamp(floats x, float bound) {
    floats high = floats{} + bound, low = -high;
    x = x < low ? low : x;
    return x > high ? high : x;
}

static inline floats fraction(floats z) {
    floats f = z - __builtin_convertvector(__builtin_convertvector(z, ints), floats);
    return f < 0 ? f + 1 : f;
}

typedef struct {
    float c, b, a;      // the quadratic c + b x + a x^2
    float noise, clamp; // standard deviation; bound, infinite for none
    float range;        // beyond it x is penalised; infinite for none
} Activation;

// What the quadratic sees of x: noise from x's own low bits, as `cheap_noise`, then the clamp.
static inline floats seen(floats x, const Activation *k, ints *inside) {
    floats t = x;
    if (k->noise != 0) t += k->noise * 2.449489742783178f * (fraction(x * 4093.0f) + fraction(x * 2411.7f) - 1);
    floats y = clamp(t, k->clamp);
    *inside = t == y;
    return y;
}

static void rows_of(long rows, long *from, long *to) {
    long n = omp_get_num_threads(), i = omp_get_thread_num();
    *from = rows * i / n, *to = rows * (i + 1) / n;
}

static void collect(double *slots, int threads, long channels, double *sums) {
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (int t = 0; t < threads; t++)
        for (long i = 0; i < 2 * channels; i++) sums[i] += slots[(size_t)t * 2 * channels + i];
    free(slots);
}

extern "C" {

// sums[2 * channels]: of x, of x^2.
void umbra_moments(const uint16_t *x, long rows, long channels, double *sums) {
    int threads = omp_get_max_threads();
    double *slots = static_cast<double *>(calloc(size_t(threads) * 2 * channels, sizeof(double)));
#pragma omp parallel num_threads(threads)
    {
        long from, to;
        rows_of(rows, &from, &to);
        double *mine = slots + (size_t)omp_get_thread_num() * 2 * channels;
        for (long block = from; block < to; block += BLOCK)
            for (long c = 0; c < channels; c += LANES) {
                floats first = {}, second = {};
                for (long r = block; r < to && r < block + BLOCK; r++) {
                    floats v = load(x + r * channels + c);
                    first += v, second += v * v;
                }
                for (int i = 0; i < LANES; i++) mine[c + i] += first[i], mine[channels + c + i] += second[i];
            }
    }
    collect(slots, threads, channels, sums);
}

// y = the activation of x * scale + shift, by channel; returns the sum of squares of what exceeds the range.
double umbra_forward(const uint16_t *x, long rows, long channels, const float *scale, const float *shift, const Activation *k, uint16_t *y) {
    double excess = 0;
    int threads = omp_get_max_threads();
    double *slots = static_cast<double *>(calloc(threads, sizeof(double)));
#pragma omp parallel num_threads(threads)
    {
        long from, to;
        rows_of(rows, &from, &to);
        for (long block = from; block < to; block += BLOCK) {
            floats squares = {};
            for (long c = 0; c < channels; c += LANES) {
                floats s = *(const floats *)(scale + c), t = *(const floats *)(shift + c);
                for (long r = block; r < to && r < block + BLOCK; r++) {
                    floats z = load(x + r * channels + c) * s + t, e = z - clamp(z, k->range);
                    ints inside;
                    floats u = seen(z, k, &inside);
                    squares += e * e;
                    store(y + r * channels + c, k->c + u * (k->b + k->a * u));
                }
            }
            for (int i = 0; i < LANES; i++) slots[omp_get_thread_num()] += squares[i];
        }
    }
    for (int t = 0; t < threads; t++) excess += slots[t];
    free(slots);
    return excess;
}

// The gradient at the activation's input z: through the quadratic where the clamp did not act, and of the penalty.
static inline floats gradient(floats z, floats dy, const Activation *k, float penalty) {
    ints inside;
    floats u = seen(z, k, &inside), through = dy * (k->b + 2 * k->a * u);
    return (inside ? through : floats{}) + penalty * (z - clamp(z, k->range));
}

// g: the gradient at the activation's input; sums[2 * channels]: of g, of g x. `penalty`: the gradient of the excess's norm over that norm.
void umbra_backward(const uint16_t *x, const uint16_t *dy, long rows, long channels, const float *scale, const float *shift, const Activation *k, float penalty,
                    uint16_t *g, double *sums) {
    int threads = omp_get_max_threads();
    double *slots = static_cast<double *>(calloc(size_t(threads) * 2 * channels, sizeof(double)));
#pragma omp parallel num_threads(threads)
    {
        long from, to;
        rows_of(rows, &from, &to);
        double *mine = slots + (size_t)omp_get_thread_num() * 2 * channels;
        for (long block = from; block < to; block += BLOCK)
            for (long c = 0; c < channels; c += LANES) {
                floats s = *(const floats *)(scale + c), t = *(const floats *)(shift + c), first = {}, second = {};
                for (long r = block; r < to && r < block + BLOCK; r++) {
                    floats v = load(x + r * channels + c);
                    floats d = gradient(v * s + t, load(dy + r * channels + c), k, penalty);
                    first += d, second += d * v;
                    store(g + r * channels + c, d);
                }
                for (int i = 0; i < LANES; i++) mine[c + i] += first[i], mine[channels + c + i] += second[i];
            }
    }
    collect(slots, threads, channels, sums);
}

// g becomes g * of_gradient + x * of_input + constant, by channel: batch norm's gradient with its means folded in.
void umbra_backward_norm(const uint16_t *x, long rows, long channels, const float *of_gradient, const float *of_input, const float *constant, uint16_t *g) {
#pragma omp parallel
    {
        long from, to;
        rows_of(rows, &from, &to);
        for (long block = from; block < to; block += BLOCK)
            for (long c = 0; c < channels; c += LANES) {
                floats p = *(const floats *)(of_gradient + c), q = *(const floats *)(of_input + c), o = *(const floats *)(constant + c);
                for (long r = block; r < to && r < block + BLOCK; r++) {
                    uint16_t *at = g + r * channels + c;
                    store(at, load(at) * p + load(x + r * channels + c) * q + o);
                }
            }
    }
}

// Each padded row is a stretch of the flattened picture, positions modulo their number: row h begins `margin` positions before h * width.
void umbra_pad(const uint16_t *x, long pictures, long height, long width, long channels, long margin, long dilation, uint16_t *y) {
    long above = margin * dilation, positions = height * width, length = width + 2 * margin;
#pragma omp parallel for
    for (long n = 0; n < pictures; n++)
        for (long row = 0; row < height + 2 * above; row++) {
            long start = ((row - above + 2 * height) % height * width - margin + positions) % positions;
            long whole = start + length <= positions ? length : positions - start;
            const uint16_t *from = x + n * positions * channels;
            uint16_t *to = y + (n * (height + 2 * above) + row) * length * channels;
            memcpy(to, from + start * channels, whole * channels * sizeof *x);
            memcpy(to + whole * channels, from, (length - whole) * channels * sizeof *x);
        }
}

// Adds the stretch of `count` positions from `column` on of every padded row that is row h, to `sums`.
static void add_rows(float *sums, const uint16_t *dy, long h, long height, long above, long length, long channels, long column, long count) {
    for (long row = (h + above) % height; row < height + 2 * above; row += height) {
        const uint16_t *from = dy + (row * length + column) * channels;
        for (long i = 0; i < count * channels; i += LANES) *(floats *)(sums + i) += load(from + i);
    }
}

// The transpose: dx sums what each position became, in its own row and at the edges of the rows before and after.
void umbra_pad_backward(const uint16_t *dy, long pictures, long height, long width, long channels, long margin, long dilation, uint16_t *dx) {
    long above = margin * dilation, length = width + 2 * margin;
#pragma omp parallel
    {
        float *sums = static_cast<float *>(malloc(width * channels * sizeof(float)));
#pragma omp for
        for (long n = 0; n < pictures; n++) {
            const uint16_t *from = dy + n * (height + 2 * above) * length * channels;
            for (long h = 0; h < height; h++) {
                memset(sums, 0, width * channels * sizeof *sums);
                add_rows(sums, from, h, height, above, length, channels, margin, width);
                add_rows(sums + (width - margin) * channels, from, (h + 1) % height, height, above, length, channels, 0, margin);
                add_rows(sums, from, (h + height - 1) % height, height, above, length, channels, margin + width, margin);
                for (long i = 0; i < width * channels; i += LANES) store(dx + (n * height + h) * width * channels + i, *(floats *)(sums + i));
            }
        }
        free(sums);
    }
}

}
