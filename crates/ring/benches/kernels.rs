//! The inner loops at N = 2^15, for every kernel set of the machine, beside another library's transform.
//!
//! `cargo bench -p umbra-ring`, or with a filter: `cargo bench -p umbra-ring -- ntt`. `UMBRA_KERNEL` does not matter
//! here.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

use umbra_ring::kernels::{GroupedMatrix, IntegerMatrix, Kernels, KeyProduct};
use umbra_ring::{Automorphism, Modulus, NttTable, convert::BaseConverter, primes};

const LOG_N: u32 = 15;
const N: usize = 1 << LOG_N;

fn moduli(count: usize) -> Vec<Modulus> {
    let found = primes::nearest(LOG_N, 30.0, count, &[]).expect("there are that many primes");
    found.into_iter().filter_map(Modulus::new).collect()
}

/// Residues that look random.
fn residues(m: &Modulus, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| i.wrapping_mul(0x9E37_79B1) % m.value()).collect()
}

fn ntt(c: &mut Criterion) {
    let mut group = c.benchmark_group("ntt");
    let m = moduli(1)[0];
    let mut values = residues(&m, N);
    for kernels in Kernels::available() {
        let table = NttTable::with_kernels(kernels, LOG_N, m.value()).expect("a prime that fits");
        group.bench_function(BenchmarkId::new("forward", kernels.name), |b| b.iter(|| table.forward(&mut values)));
        group.bench_function(BenchmarkId::new("inverse", kernels.name), |b| b.iter(|| table.inverse(&mut values)));
    }
    let plan = tfhe_ntt::prime32::Plan::try_new(N, m.value()).expect("a prime that fits");
    group.bench_function(BenchmarkId::new("forward", "tfhe-ntt"), |b| b.iter(|| plan.fwd(&mut values)));
    group.bench_function(BenchmarkId::new("inverse", "tfhe-ntt"), |b| {
        b.iter(|| {
            plan.inv(&mut values);
            plan.normalize(&mut values);
        });
    });
    group.bench_function("table", |b| b.iter(|| NttTable::new(LOG_N, black_box(m.value()))));
    group.finish();
}

/// Matrix products over `len` entries; 1024 entries of 25 inputs and 8 outputs stay in the caches.
fn matmul(c: &mut Criterion) {
    let mut group = c.benchmark_group("matmul");
    let all = moduli(24);
    for (rows, cols, len) in [(8, 25, 1024), (24, 8, N), (16, 64, 2048)] {
        let weights: Vec<i32> = residues(&all[0], rows * cols).into_iter().map(|x| all[0].centre(x)).collect();
        let inputs: Vec<Vec<i32>> = (0..cols)
            .map(|i| residues(&all[i % 24], len).into_iter().map(|x| all[i % 24].centre(x)).collect())
            .collect();
        let inputs: Vec<&[i32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs = vec![vec![0u32; len]; rows];
        group.throughput(Throughput::Elements((rows * cols * len) as u64));
        for kernels in Kernels::available() {
            let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            let id = BenchmarkId::new(kernels.name, format!("{rows}x{cols}x{len}"));
            group.bench_function(id, |b| b.iter(|| kernels.matmul(&all[..rows], &weights, &inputs, &mut outputs)));
        }
    }
    group.finish();
}

/// The weights of 64 rows and 576 columns, 128 entries at a time: a convolution with one channel per ciphertext. As
/// residues in Montgomery form for one prime, as integers for all, and with 16 and 64 different ones in each row,
/// grouped. Columns are as far apart as those of both components are.
fn integers(c: &mut Criterion) {
    let mut group = c.benchmark_group("integers");
    let (rows, columns, len) = (64, 576, 128);
    let m = moduli(1)[0];
    let residues = residues(&m, 2 * len * columns);
    let centred: Vec<i32> = residues.iter().map(|&x| m.centre(x)).collect();
    let centred: Vec<&[i32]> = centred.chunks_exact(2 * len).map(|c| &c[..len]).collect();
    let canonical: Vec<&[u32]> = residues.chunks_exact(2 * len).map(|c| &c[..len]).collect();
    let mut outputs = vec![vec![0u32; len]; rows];
    group.throughput(Throughput::Elements((rows * columns * len) as u64));
    let weights: Vec<i32> = (0..rows * columns).map(|i| (i * 40503 % 6001) as i32 - 3000).collect();
    let matrix = IntegerMatrix::new(rows, columns, &weights).expect("small weights");
    let grouped = [16, 64].map(|k| {
        // In no order that a predictor would learn.
        let few = residues.iter().map(|x| (x.wrapping_mul(0x85EB_CA6B) >> 16) as i32 % k * 97 - 3000);
        let few: Vec<i32> = few.take(rows * columns).collect();
        (k, GroupedMatrix::new(rows, columns, &few).expect("small weights"))
    });
    for kernels in Kernels::available() {
        let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        group.bench_function(BenchmarkId::new("montgomery", kernels.name), |b| {
            b.iter(|| kernels.matmul(&vec![m; rows], &weights, &centred, &mut outputs));
        });
        group.bench_function(BenchmarkId::new("integers", kernels.name), |b| {
            b.iter(|| kernels.multiply_integers(&m, &matrix, &canonical, &mut outputs));
        });
        for (k, grouped) in &grouped {
            let id = BenchmarkId::new(format!("{k} grouped"), kernels.name);
            group.bench_function(id, |b| {
                b.iter(|| kernels.multiply_grouped(&m, grouped, &canonical, &mut outputs));
            });
        }
    }
    group.finish();
}

/// Key products of four digits: with one key again and again (second-level cache), and with keys enough to come from
/// memory.
fn rotate_product(c: &mut Criterion) {
    let mut group = c.benchmark_group("rotate_product");
    let m = moduli(1)[0];
    let map = Automorphism::new(LOG_N, 5).expect("5 is odd");
    let digits_count = 4;
    let digits = residues(&m, digits_count * N);
    let addend = residues(&m, N);
    let (mut c0, mut c1) = (vec![0; N], vec![0; N]);
    group.throughput(Throughput::Bytes((2 * digits_count * N * 4) as u64));
    for keys in [1, 256] {
        let key = residues(&m, keys * 2 * digits_count * N);
        for kernels in Kernels::available() {
            let mut next = 0;
            group.bench_function(BenchmarkId::new(kernels.name, format!("{keys} keys")), |b| {
                b.iter(|| {
                    next = (next + 1) % keys;
                    let key = &key[next * 2 * digits_count * N..][..2 * digits_count * N];
                    let source = map.source();
                    let p = KeyProduct { modulus: &m, source, digits: &digits, key, addend: Some(&addend), n: N };
                    kernels.rotate_product_centred(&p, &mut c0, &mut c1);
                });
            });
        }
    }
    group.finish();
}

/// The steps of an exact conversion from 8 primes to 8, one source limb or all.
fn conversion(c: &mut Criterion) {
    let mut group = c.benchmark_group("conversion");
    let all = moduli(16);
    let converter = BaseConverter::new(&all[..8], &all[8..], true, |_| 1, |_| 1);
    let limbs: Vec<Vec<u32>> = all[..8].iter().map(|m| residues(m, N)).collect();
    let mut columns: Vec<Vec<i32>> = (0..9).map(|_| vec![0; N]).collect();
    let mut outputs = vec![vec![0u32; N]; 8];
    for kernels in Kernels::available() {
        for (i, limb) in limbs.iter().enumerate() {
            converter.prepare(kernels, i, limb, &mut columns[i]);
        }
        let (sources, quotient) = columns.split_at_mut(8);
        group.bench_function(BenchmarkId::new("prepare one", kernels.name), |b| {
            b.iter(|| converter.prepare(kernels, 0, &limbs[0], &mut sources[0]));
        });
        let sources: Vec<&[i32]> = sources.iter().map(Vec::as_slice).collect();
        group.bench_function(BenchmarkId::new("quotient", kernels.name), |b| {
            b.iter(|| converter.quotient(kernels, &sources, &mut quotient[0]));
        });
        let columns: Vec<&[i32]> = columns.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [u32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        group.bench_function(BenchmarkId::new("convert", kernels.name), |b| {
            b.iter(|| converter.convert(kernels, 0, &columns, &mut outputs));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .sample_size(40)
        .without_plots();
    targets = ntt, matmul, integers, rotate_product, conversion
}
criterion_main!(benches);
