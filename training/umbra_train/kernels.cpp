// Batch norm with a quadratic activation, and the circular padding, on channels-last tensors [rows, channels] in bfloat16 or single precision:
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
typedef uint16_t bfloat16;

static inline floats load(const float *p) { return *(const floats *)p; }

static inline floats load(const bfloat16 *p) {
    return (floats)(__builtin_convertvector(*(const halves *)p, words) << 16);
}

static inline void store(float *p, floats x) { *(floats *)p = x; }

static inline void store(bfloat16 *p, floats x) { // to nearest, ties to even
    words w = (words)x;
    *(halves *)p = __builtin_convertvector((w + 0x7fff + ((w >> 16) & 1)) >> 16, halves);
}

static inline floats clamp(floats x, float low, float high) {
    floats l = floats{} + low, h = floats{} + high;
    x = x < l ? l : x;
    return x > h ? h : x;
}

static inline floats fraction(floats z) {
    floats f = z - __builtin_convertvector(__builtin_convertvector(z, ints), floats);
    return f < 0 ? f + 1 : f;
}

typedef struct {
    float c, b, a;   // the quadratic c + b x + a x^2
    float noise;     // standard deviation
    float low, high; // what the quadratic sees is clamped to these; a ReLU is x clamped to [0, infinity]
    float range;     // beyond it x is penalised; infinite for none
} Activation;

// What the quadratic sees of x: noise from x's own low bits, as `cheap_noise`, then the clamp.
static inline floats seen(floats x, const Activation *k, ints *inside) {
    floats t = x;
    if (k->noise != 0) t += k->noise * 2.449489742783178f * (fraction(x * 4093.0f) + fraction(x * 2411.7f) - 1);
    floats y = clamp(t, k->low, k->high);
    *inside = t == y;
    return y;
}

// `lanes(c)` makes what visits the elements i = row * channels + c for all rows, LANES channels at a time, and adds to two sums a channel.
// sums[2 * channels]: all first ones, then all second ones.
template <typename Lanes> static void visit(long rows, long channels, double *sums, Lanes lanes) {
    int most = omp_get_max_threads();
    double *slots = static_cast<double *>(calloc(size_t(most) * 2 * channels, sizeof(double)));
#pragma omp parallel num_threads(most)
    {
        long threads = omp_get_num_threads(), thread = omp_get_thread_num(); // there may be fewer than asked for
        long from = rows * thread / threads, to = rows * (thread + 1) / threads;
        double *mine = slots + size_t(thread) * 2 * channels;
        for (long block = from; block < to; block += BLOCK)
            for (long c = 0; c < channels; c += LANES) {
                auto element = lanes(c);
                floats first = {}, second = {};
                for (long r = block; r < to && r < block + BLOCK; r++) element(r * channels + c, first, second);
                for (int i = 0; i < LANES; i++) mine[c + i] += first[i], mine[channels + c + i] += second[i];
            }
    }
    memset(sums, 0, 2 * channels * sizeof *sums);
    for (int t = 0; t < most; t++)
        for (long i = 0; i < 2 * channels; i++) sums[i] += slots[size_t(t) * 2 * channels + i];
    free(slots);
}

// sums: of x, of x^2.
template <typename T> static void moments(const T *x, long rows, long channels, double *sums) {
    visit(rows, channels, sums, [=](long) {
        return [=](long i, floats &first, floats &second) {
            floats v = load(x + i);
            first += v, second += v * v;
        };
    });
}

// y = the activation of x * scale + shift, by channel; sums: of squares of what exceeds the range, of nothing.
template <typename T>
static void forward(const T *x, long rows, long channels, const float *scale, const float *shift, const Activation *activation, T *y, double *sums) {
    Activation k = *activation;
    visit(rows, channels, sums, [=](long c) {
        floats s = load(scale + c), t = load(shift + c);
        return [=, &k](long i, floats &squares, floats &) {
            floats z = load(x + i) * s + t, e = z - clamp(z, -k.range, k.range);
            ints inside;
            floats u = seen(z, &k, &inside);
            squares += e * e;
            store(y + i, k.c + u * (k.b + k.a * u));
        };
    });
}

// The gradient at the activation's input z: through the quadratic where the clamp did not act, and of the penalty.
static inline floats gradient(floats z, floats dy, const Activation *k, float penalty) {
    ints inside;
    floats u = seen(z, k, &inside), through = dy * (k->b + 2 * k->a * u);
    return (inside ? through : floats{}) + penalty * (z - clamp(z, -k->range, k->range));
}

// g: the gradient at the activation's input; sums: of g, of g x. `penalty`: the gradient of the excess's norm over that norm.
template <typename T>
static void backward(const T *x, const T *dy, long rows, long channels, const float *scale, const float *shift, const Activation *activation, float penalty,
                     T *g, double *sums) {
    Activation k = *activation;
    visit(rows, channels, sums, [=](long c) {
        floats s = load(scale + c), t = load(shift + c);
        return [=, &k](long i, floats &first, floats &second) {
            floats v = load(x + i), d = gradient(v * s + t, load(dy + i), &k, penalty);
            first += d, second += d * v;
            store(g + i, d);
        };
    });
}

// g becomes g * of_gradient + x * of_input + constant, by channel: batch norm's gradient with its means folded in. sums: of nothing.
template <typename T>
static void backward_norm(const T *x, long rows, long channels, const float *of_gradient, const float *of_input, const float *constant, T *g, double *sums) {
    visit(rows, channels, sums, [=](long c) {
        floats p = load(of_gradient + c), q = load(of_input + c), o = load(constant + c);
        return [=](long i, floats &, floats &) { store(g + i, load(g + i) * p + load(x + i) * q + o); };
    });
}

// Each padded row is a stretch of the flattened image, positions modulo their number: row h begins `margin` positions before h * width.
template <typename T> static void pad(const T *x, long images, long height, long width, long channels, long margin, long dilation, T *y) {
    long above = margin * dilation, positions = height * width, length = width + 2 * margin;
#pragma omp parallel for
    for (long n = 0; n < images; n++)
        for (long row = 0; row < height + 2 * above; row++) {
            long start = ((row - above + 2 * height) % height * width - margin + positions) % positions;
            long whole = start + length <= positions ? length : positions - start;
            const T *from = x + n * positions * channels;
            T *to = y + (n * (height + 2 * above) + row) * length * channels;
            memcpy(to, from + start * channels, whole * channels * sizeof *x);
            memcpy(to + whole * channels, from, (length - whole) * channels * sizeof *x);
        }
}

// Adds the stretch of `count` positions from `column` on of every padded row that is row h, to `sums`.
template <typename T>
static void add_rows(float *sums, const T *dy, long h, long height, long above, long length, long channels, long column, long count) {
    for (long row = (h + above) % height; row < height + 2 * above; row += height) {
        const T *from = dy + (row * length + column) * channels;
        for (long i = 0; i < count * channels; i += LANES) *(floats *)(sums + i) += load(from + i);
    }
}

// The transpose: dx sums what each position became, in its own row and at the edges of the rows before and after.
template <typename T>
static void pad_backward(const T *dy, long images, long height, long width, long channels, long margin, long dilation, T *dx) {
    long above = margin * dilation, length = width + 2 * margin;
#pragma omp parallel
    {
        float *sums = static_cast<float *>(malloc(width * channels * sizeof(float)));
#pragma omp for
        for (long n = 0; n < images; n++) {
            const T *from = dy + n * (height + 2 * above) * length * channels;
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

#define EXPORT(T) \
    extern "C" { \
    void moments_##T(const T *x, long rows, long channels, double *sums) { moments(x, rows, channels, sums); } \
    void forward_##T(const T *x, long rows, long channels, const float *scale, const float *shift, const Activation *k, T *y, double *sums) { \
        forward(x, rows, channels, scale, shift, k, y, sums); \
    } \
    void backward_##T(const T *x, const T *dy, long rows, long channels, const float *scale, const float *shift, const Activation *k, float penalty, T *g, double *sums) { \
        backward(x, dy, rows, channels, scale, shift, k, penalty, g, sums); \
    } \
    void backward_norm_##T(const T *x, long rows, long channels, const float *of_gradient, const float *of_input, const float *constant, T *g, double *sums) { \
        backward_norm(x, rows, channels, of_gradient, of_input, constant, g, sums); \
    } \
    void pad_##T(const T *x, long images, long height, long width, long channels, long margin, long dilation, T *y) { \
        pad(x, images, height, width, channels, margin, dilation, y); \
    } \
    void pad_backward_##T(const T *dy, long images, long height, long width, long channels, long margin, long dilation, T *dx) { \
        pad_backward(dy, images, height, width, channels, margin, dilation, dx); \
    } \
    }
EXPORT(bfloat16)
EXPORT(float)
