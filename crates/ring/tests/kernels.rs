//! Every kernel set against the reference and against arithmetic written out with big integers.

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

use umbra_ring::kernels::{GroupedMatrix, IntegerMatrix, Kernels, KeyProduct, MAX_WEIGHTS, QuotientTerm};
use umbra_ring::{Automorphism, Modulus, primes};

fn residues(rng: &mut impl Rng, m: &Modulus, len: usize) -> Vec<u32> {
    // The extremes appear often: they are where lazy bounds break.
    (0..len)
        .map(|_| match rng.random_range(0..8) {
            0 => 0,
            1 => m.value() - 1,
            2 => m.value() / 2,
            3 => m.value() / 2 + 1,
            _ => rng.random_range(0..m.value()),
        })
        .collect()
}

fn moduli() -> Vec<Modulus> {
    let mut all = primes::nearest(7, 30.0, 3, &[]).unwrap();
    all.extend(primes::nearest(7, 22.0, 2, &all).unwrap());
    all.push(257);
    all.into_iter().map(|p| Modulus::new(p).unwrap()).collect()
}

#[test]
fn pointwise_kernels_are_exact() {
    let mut rng = StdRng::seed_from_u64(3);
    for k in Kernels::available() {
        for m in moduli() {
            for len in [1usize, 16, 45, 128] {
                let (a, b) = (residues(&mut rng, &m, len), residues(&mut rng, &m, len));
                let p = m.value() as i128;
                let c = residues(&mut rng, &m, 1)[0];
                let cm = m.to_montgomery(c);
                let exact = |f: &dyn Fn(i128, i128) -> i128| -> Vec<u32> {
                    a.iter().zip(&b).map(|(&a, &b)| f(a as i128, b as i128).rem_euclid(p) as u32).collect()
                };
                let run = |f: &dyn Fn(&mut [u32])| {
                    let mut out = a.clone();
                    f(&mut out);
                    out
                };
                let name = k.name;
                assert_eq!(run(&|o| k.add(&m, o, &b)), exact(&|a, b| a + b), "{name} add");
                assert_eq!(run(&|o| k.sub(&m, o, &b)), exact(&|a, b| a - b), "{name} sub");
                assert_eq!(run(&|o| k.mul(&m, o, &a, &b)), exact(&|a, b| a * b), "{name} mul");
                assert_eq!(run(&|o| k.mul_const(&m, o, cm)), exact(&|a, _| a * c as i128), "{name} mul_const");
                assert_eq!(run(&|o| k.mul_const_add(&m, o, &b, cm)), exact(&|a, b| a + b * c as i128), "{name}");
                assert_eq!(run(&|o| k.sub_mul_const(&m, o, &b, cm)), exact(&|a, b| (a - b) * c as i128), "{name}");
                let mut centred = vec![0; len];
                k.scale_centre(&m, &mut centred, &a, cm);
                for (got, want) in centred.iter().zip(exact(&|a, _| a * c as i128)) {
                    assert_eq!(got.rem_euclid(p as i32) as u32, want);
                    assert!(got.unsigned_abs() as i128 <= p / 2);
                }
                let mut d = [vec![0; len], vec![0; len], vec![0; len]];
                let [d0, d1, d2] = &mut d;
                k.square(&m, [d0, d1, d2], [&a, &b]);
                assert_eq!(d, [exact(&|a, _| a * a), exact(&|a, b| 2 * a * b), exact(&|_, b| b * b)], "{name} square");
            }
        }
    }
}

#[test]
fn matrix_products_are_exact() {
    let mut rng = StdRng::seed_from_u64(4);
    let all = moduli();
    for k in Kernels::available() {
        for (rows, cols, len) in
            [(1, 1, 16), (3, 5, 33), (9, 16, 64), (13, 40, 48), (8, 33, 16), (4, 24, 32), (8, 49, 16)]
        {
            let rows: Vec<Modulus> = (0..rows).map(|r| all[r % all.len()]).collect();
            let plain: Vec<Vec<i32>> =
                rows.iter().map(|m| residues(&mut rng, m, cols).iter().map(|&w| m.centre(w)).collect()).collect();
            let weights: Vec<i32> = (rows.iter().zip(&plain))
                .flat_map(|(m, row)| row.iter().map(|&w| m.centre(m.to_montgomery(m.reduce_i64(w as i64)))))
                .collect();
            let big = all[0];
            let inputs: Vec<Vec<i32>> =
                (0..cols).map(|_| residues(&mut rng, &big, len).iter().map(|&x| big.centre(x)).collect()).collect();
            let mut out = vec![vec![1u32; len]; rows.len()];
            {
                let inputs: Vec<&[i32]> = inputs.iter().map(Vec::as_slice).collect();
                let mut out: Vec<&mut [u32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
                k.matmul(&rows, &weights, &inputs, &mut out);
            }
            for (r, m) in rows.iter().enumerate() {
                for i in 0..len {
                    let sum: i128 = (0..cols).map(|c| plain[r][c] as i128 * inputs[c][i] as i128).sum();
                    assert_eq!(out[r][i], m.reduce_i128(sum), "{} row {r} entry {i}", k.name);
                }
            }
        }
    }
}

/// Rows of integers as large as a matrix takes, of both signs, of one sign, and small ones; some zero.
fn integers(rng: &mut impl Rng, rows: usize, columns: usize) -> Vec<i32> {
    let most = (MAX_WEIGHTS / columns as u64) as i32;
    let mut weights = vec![0; rows * columns];
    for (r, row) in weights.chunks_exact_mut(columns).enumerate() {
        for w in row.iter_mut() {
            *w = match (r % 6, rng.random_range(0..8)) {
                (_, 0) | (5, _) => 0,
                (0, _) => most,
                (1, _) => -most,
                (2, _) => most - 2 * most * rng.random_range(0..2),
                (3, _) => rng.random_range(-3..=3),
                _ => rng.random_range(-most..=most),
            };
        }
    }
    weights
}

#[test]
fn products_with_integers_are_exact() {
    let mut rng = StdRng::seed_from_u64(7);
    for m in moduli() {
        for (rows, columns, len) in
            [(1, 1, 16), (3, 5, 33), (9, 16, 64), (13, 40, 48), (8, 1, 16), (4, 24, 32), (6, 576, 20), (23, 7, 5)]
        {
            let weights = integers(&mut rng, rows, columns);
            let matrix = IntegerMatrix::new(rows, columns, &weights).unwrap();
            assert_eq!((matrix.rows(), matrix.columns()), (rows, columns));
            let mut inputs: Vec<Vec<u32>> = (0..columns).map(|_| residues(&mut rng, &m, len)).collect();
            // Entries where all inputs are as large, or as small, as they can be.
            inputs.iter_mut().for_each(|x| x[..2].copy_from_slice(&[m.value() - 1, 0]));
            let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
            let want: Vec<Vec<u32>> = (weights.chunks_exact(columns))
                .map(|row| {
                    let sum = |i: usize| row.iter().zip(&inputs).map(|(&w, x)| w as i128 * x[i] as i128).sum();
                    (0..len).map(|i| m.reduce_i128(sum(i))).collect()
                })
                .collect();
            for k in Kernels::available() {
                let mut out = vec![vec![1u32; len]; rows];
                k.multiply_integers(
                    &m,
                    &matrix,
                    &inputs,
                    &mut out.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
                );
                assert_eq!(out, want, "{} {rows} x {columns} mod {}", k.name, m.value());
                let grouped = GroupedMatrix::new(rows, columns, &weights).unwrap();
                out.iter_mut().for_each(|row| row.fill(1));
                k.multiply_grouped(
                    &m,
                    &grouped,
                    &inputs,
                    &mut out.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>(),
                );
                assert_eq!(out, want, "{} grouped {rows} x {columns} mod {}", k.name, m.value());
            }
        }
    }
}

#[test]
fn rows_of_integers_are_bounded() {
    let most = MAX_WEIGHTS as i32;
    assert!(IntegerMatrix::new(1, 2, &[most - 1, -1]).is_some());
    assert!(IntegerMatrix::new(1, 2, &[most, -1]).is_none());
    assert!(IntegerMatrix::new(2, 1, &[most, i32::MIN]).is_none());
    assert!(IntegerMatrix::new(0, 3, &[]).is_some());
    assert!(GroupedMatrix::new(1, 2, &[most, -1]).is_none());
    assert!(GroupedMatrix::new(2, 1, &[-most, most]).is_some());
}

#[test]
fn key_products_and_permutations_are_exact() {
    let mut rng = StdRng::seed_from_u64(5);
    let (log_n, n) = (7, 128);
    for k in Kernels::available() {
        for m in moduli() {
            for (digits_count, element, block) in [(1, 5, 128), (4, 25, 64), (7, 255, 16), (3, 125, 4)] {
                let map = Automorphism::new(log_n, element).unwrap();
                let digits = residues(&mut rng, &m, digits_count * n);
                let key = residues(&mut rng, &m, 2 * digits_count * n);
                let montgomery: Vec<u32> = key.iter().map(|&x| m.to_montgomery(x)).collect();
                let addend = residues(&mut rng, &m, n);
                let want = |part: usize| -> Vec<u32> {
                    map.source()
                        .iter()
                        .map(|&s| {
                            let s = s as usize;
                            let sum: i128 = (0..digits_count)
                                .map(|d| digits[d * n + s] as i128 * key[(2 * d + part) * n + s] as i128)
                                .sum();
                            m.reduce_i128(sum + if part == 0 { addend[s] as i128 } else { 0 })
                        })
                        .collect()
                };
                let old = residues(&mut rng, &m, n);
                let (mut c0, mut c1) = (vec![0; n], vec![0; n]);
                let (mut s0, mut s1) = (old.clone(), old.clone());
                let (mut r0, mut r1) = (old.clone(), old.clone());
                for at in (0..n).step_by(block) {
                    let part = at..at + block;
                    let p = KeyProduct {
                        modulus: &m,
                        source: &map.source()[part.clone()],
                        digits: &digits,
                        key: &montgomery,
                        addend: Some(&addend),
                        n,
                    };
                    k.rotate_product_centred(&p, &mut c0[part.clone()], &mut c1[part.clone()]);
                    k.rotate_product(&p, true, &mut s0[part.clone()], &mut s1[part.clone()]);
                    k.rotate_product(&p, false, &mut r0[part.clone()], &mut r1[part]);
                }
                for (part, (centred, summed, replaced)) in [(c0, s0, r0), (c1, s1, r1)].into_iter().enumerate() {
                    for (i, want) in want(part).into_iter().enumerate() {
                        assert_eq!(m.reduce_i64(centred[i] as i64), want, "{} part {part}", k.name);
                        assert!(centred[i].unsigned_abs() <= m.value() / 2);
                        assert_eq!(summed[i], m.add(old[i], want));
                        assert_eq!(replaced[i], want);
                    }
                }
                let a = residues(&mut rng, &m, n);
                let mut out = vec![0; n];
                k.permute(map.source(), &mut out, &a);
                assert!(out.iter().zip(map.source()).all(|(&o, &s)| o == a[s as usize]));
            }
        }
    }
}

#[test]
fn quotients_agree() {
    let mut rng = StdRng::seed_from_u64(6);
    for (columns, len) in [(1, 16), (3, 45), (9, 64), (40, 33)] {
        let terms: Vec<QuotientTerm> = (0..columns)
            .map(|_| QuotientTerm { factor: rng.random_range(1 << 29..=1 << 30), shift: rng.random_range(0..=27) })
            .map(|t| if columns < 9 { t } else { QuotientTerm { shift: 27, ..t } })
            .collect();
        let extreme = [-(1 << 29), (1 << 29) - 1, 0, -1];
        let y: Vec<Vec<i32>> = (0..columns)
            .map(|_| {
                (0..len).map(|i| if i < 8 { extreme[i % 4] } else { rng.random_range(-(1 << 29)..1 << 29) }).collect()
            })
            .collect();
        let y: Vec<&[i32]> = y.iter().map(Vec::as_slice).collect();
        let want: Vec<i32> = (0..len)
            .map(|i| {
                let sum: i128 = terms.iter().zip(&y).map(|(t, y)| (y[i] as i128 * t.factor as i128) >> t.shift).sum();
                ((sum + (1 << 31)) >> 32) as i32
            })
            .collect();
        for k in Kernels::available() {
            let mut out = vec![0; len];
            k.quotient(&terms, &y, &mut out);
            assert_eq!(out, want, "{}", k.name);
        }
    }
}

#[test]
fn unknown_sets_are_named() {
    let error = Kernels::named("sse9").unwrap_err().to_string();
    assert!(error.contains("sse9") && error.contains("scalar"), "{error}");
}

/// Residues from a public key are part of the format of keys and ciphertexts: all sets draw what the library's
/// generator does, word for word.
#[test]
fn uniform_residues_are_those_of_the_stream() {
    use chacha20::ChaCha20Rng;
    use chacha20::rand_core::{Rng as _, SeedableRng as _};

    let mut moduli = moduli();
    // Just above a power of two: every other word is refused.
    moduli.extend([Modulus::new(257).unwrap(), Modulus::new(65537).unwrap()]);
    for (seed, m) in moduli.iter().enumerate() {
        let key: [u8; 32] = std::array::from_fn(|i| (31 * seed + 7 * i) as u8);
        let mut rng = ChaCha20Rng::from_seed(key);
        let mask = m.value().next_power_of_two() - 1;
        let expected: Vec<u32> =
            std::iter::repeat_with(|| rng.next_u32() & mask).filter(|x| *x < m.value()).take(40_000).collect();
        for k in Kernels::available() {
            for len in [0, 1, 15, 255, 256, 257, 4096, 40_000] {
                // Nothing behind the end is touched.
                let mut out = vec![u32::MAX; len + 32];
                k.uniform(m, &key, &mut out[..len]);
                assert!(out[..len] == expected[..len], "{} of {} residues below {}", k.name, len, m.value());
                assert!(out[len..].iter().all(|x| *x == u32::MAX), "{}", k.name);
            }
        }
    }
}
