//! Operations on ciphertexts.

use crate::encryption::subset_rows;
use crate::keys::{KeyKind, KeyStore};
use crate::keyswitch::Column;
use crate::{Ciphertext, CkksError, Parameters, Plaintext};
use rayon::prelude::*;
use umbra_ring::Polys;

/// Relative difference up to which two scales count as equal: far below any noise.
const SCALE_TOLERANCE: f64 = 1e-9;

/// Evaluates on ciphertexts, with keys from a store. Holds no secret.
pub struct Evaluator<'k> {
    pub(crate) parameters: Parameters,
    pub(crate) keys: &'k dyn KeyStore,
}

impl std::fmt::Debug for Evaluator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evaluator({:?})", self.parameters)
    }
}

pub(crate) fn check_scales(op: &'static str, left: f64, right: f64) -> Result<(), CkksError> {
    if ((left - right) / right).abs() <= SCALE_TOLERANCE {
        return Ok(());
    }
    Err(CkksError::Scale { op, left, right })
}

impl<'k> Evaluator<'k> {
    /// An evaluator.
    pub fn new(parameters: &Parameters, keys: &'k dyn KeyStore) -> Self {
        Self { parameters: parameters.clone(), keys }
    }

    /// The parameters.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn check_pair(&self, op: &'static str, a: &Ciphertext, level: usize, scale: f64) -> Result<(), CkksError> {
        if a.level != level {
            return Err(CkksError::Level { op, expected: a.level, got: level });
        }
        check_scales(op, a.scale, scale)
    }

    /// Runs `f(prime, limb of both components, limb index)` over the limbs of a ciphertext.
    fn for_limbs(&self, c: &mut Ciphertext, f: impl Fn(u16, &mut [u32], usize) + Sync) {
        let basis = self.parameters.level(c.level);
        let stride = c.polys.stride();
        (c.polys.words_mut().par_chunks_mut(stride)).zip(basis).enumerate().for_each(|(i, (limb, &p))| f(p, limb, i));
    }

    /// `a + b`: same level, same scale.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Scale`].
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        self.check_pair("add", a, b.level, b.scale)?;
        let mut out = a.clone();
        let parameters = &self.parameters;
        self.for_limbs(&mut out, |p, limb, i| parameters.kernels().add(parameters.modulus(p), limb, b.polys.row(i)));
        Ok(out)
    }

    /// `a - b`: same level, same scale.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Scale`].
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        self.check_pair("subtract", a, b.level, b.scale)?;
        let mut out = a.clone();
        let parameters = &self.parameters;
        self.for_limbs(&mut out, |p, limb, i| parameters.kernels().sub(parameters.modulus(p), limb, b.polys.row(i)));
        Ok(out)
    }

    /// `a + b` for a plaintext, dense or periodic: same level, same scale.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Scale`].
    pub fn add_plain(&self, a: &Ciphertext, b: &Plaintext) -> Result<Ciphertext, CkksError> {
        self.check_pair("add a plaintext", a, b.level, b.scale)?;
        let mut out = a.clone();
        let parameters = &self.parameters;
        self.for_limbs(&mut out, |p, limb, i| {
            add_blocks(parameters, p, &mut limb[..parameters.n()], b.polys.limb(i, 0))
        });
        Ok(out)
    }

    /// `a * b` for a plaintext, dense or periodic; the scales multiply.
    ///
    /// # Errors
    /// [`CkksError::Level`].
    pub fn mul_plain(&self, a: &Ciphertext, b: &Plaintext) -> Result<Ciphertext, CkksError> {
        if a.level != b.level {
            return Err(CkksError::Level { op: "multiply by a plaintext", expected: a.level, got: b.level });
        }
        let mut out = a.clone();
        let parameters = &self.parameters;
        self.for_limbs(&mut out, |p, limb, i| {
            let (m, values) = (parameters.modulus(p), b.polys.limb(i, 0));
            let block = parameters.n() / values.len();
            for c in limb.chunks_exact_mut(parameters.n()) {
                if block == 1 {
                    let copy = c.to_vec();
                    parameters.kernels().mul(m, c, &copy, values);
                    continue;
                }
                for (c, &v) in c.chunks_exact_mut(block).zip(values) {
                    parameters.kernels().mul_const(m, c, m.to_montgomery(v));
                }
            }
        });
        out.scale *= b.scale;
        Ok(out)
    }

    /// `a * factor` exactly; the scale stays.
    pub fn mul_integer(&self, a: &Ciphertext, factor: i64) -> Ciphertext {
        let mut out = a.clone();
        let parameters = &self.parameters;
        self.for_limbs(&mut out, |p, limb, _| {
            let m = parameters.modulus(p);
            parameters.kernels().mul_const(m, limb, m.to_montgomery(m.reduce_i64(factor)));
        });
        out
    }

    /// The same ciphertext at a lower level whose primes are among its own: limbs are dropped, scale
    /// and message stay.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::NotASubset`].
    pub fn drop_to(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext, CkksError> {
        const OP: &str = "drop limbs";
        self.parameters.check_level(OP, level)?;
        let rows = subset_rows(&self.parameters, OP, a.level, level)?;
        Ok(Ciphertext { polys: a.polys.select(&rows), level, scale: a.scale })
    }

    /// Divides by the modulus between two levels ([`Parameters::rescale_factor`]): message stays, scale
    /// shrinks.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`]; [`CkksError::Level`] when `level` is not lower.
    pub fn rescale(&self, a: &Ciphertext, level: usize) -> Result<Ciphertext, CkksError> {
        const OP: &str = "rescale";
        self.parameters.check_level(OP, level)?;
        if level >= a.level {
            return Err(CkksError::Level { op: OP, expected: a.level.saturating_sub(1), got: level });
        }
        let parameters = &self.parameters;
        let division = parameters.division(parameters.level(a.level), parameters.level(level), true);
        let polys = division.apply(parameters, &a.polys, &[0, 1]);
        Ok(Ciphertext { polys, level, scale: a.scale / parameters.rescale_factor(a.level, level) })
    }

    /// `a^2`, relinearised; the scale squares.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn square(&self, a: &Ciphertext, gadget: usize) -> Result<Ciphertext, CkksError> {
        let parameters = &self.parameters;
        let n = parameters.n();
        let mut tensor = Polys::scratch(n, a.polys.limbs(), 3);
        (tensor.words_mut().par_chunks_mut(3 * n)).zip(parameters.level(a.level)).enumerate().for_each(
            |(i, (limb, &p))| {
                let (d0, rest) = limb.split_at_mut(n);
                let (d1, d2) = rest.split_at_mut(n);
                parameters.kernels().square(
                    parameters.modulus(p),
                    [d0, d1, d2],
                    [a.polys.limb(i, 0), a.polys.limb(i, 1)],
                );
            },
        );
        self.relinearise(&tensor, a.level, a.scale * a.scale, gadget)
    }

    /// `a * b`, relinearised: same level; the scales multiply.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext, gadget: usize) -> Result<Ciphertext, CkksError> {
        if a.level != b.level {
            return Err(CkksError::Level { op: "multiply", expected: a.level, got: b.level });
        }
        let parameters = &self.parameters;
        let n = parameters.n();
        let mut tensor = Polys::scratch(n, a.polys.limbs(), 3);
        (tensor.words_mut().par_chunks_mut(3 * n)).zip(parameters.level(a.level)).enumerate().for_each(
            |(i, (limb, &p))| {
                let (kernels, m) = (parameters.kernels(), parameters.modulus(p));
                let mut part = |at: usize, x: usize, y: usize, add: bool| {
                    let out = &mut limb[at * n..(at + 1) * n];
                    let before = add.then(|| out.to_vec());
                    kernels.mul(m, out, a.polys.limb(i, x), b.polys.limb(i, y));
                    if let Some(before) = before {
                        kernels.add(m, out, &before);
                    }
                };
                part(0, 0, 0, false);
                part(1, 0, 1, false);
                part(1, 1, 0, true);
                part(2, 1, 1, false);
            },
        );
        self.relinearise(&tensor, a.level, a.scale * b.scale, gadget)
    }

    fn relinearise(&self, tensor: &Polys, level: usize, scale: f64, gadget: usize) -> Result<Ciphertext, CkksError> {
        const OP: &str = "relinearise";
        let parameters = &self.parameters;
        let plan = parameters.switch_plan(OP, level, gadget)?;
        let key = self.keys.key(gadget, KeyKind::Relinearise, level)?;
        let bound = plan.bind(parameters, &key, level)?;
        let basis = parameters.level(level);
        let polys = plan.switch(parameters, Column { polys: tensor, index: 2 }, &[&bound], |out, limb, component| {
            parameters.kernels().add(parameters.modulus(basis[limb]), out, tensor.limb(limb, component));
        });
        Ok(Ciphertext { polys, level, scale })
    }

    /// Rotates the slots to the left by `steps`.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn rotate(&self, a: &Ciphertext, steps: i64, gadget: usize) -> Result<Ciphertext, CkksError> {
        let mut out = self.rotate_hoisted(a, &[steps], gadget)?;
        Ok(out.remove(0))
    }

    /// Several rotations of one ciphertext, which share its decomposition.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn rotate_hoisted(&self, a: &Ciphertext, steps: &[i64], gadget: usize) -> Result<Vec<Ciphertext>, CkksError> {
        let sums: Vec<&[i64]> = steps.chunks(1).collect();
        self.rotate_and_sum_each(a, &sums, gadget)
    }

    /// `a` plus its rotations by each of `steps`, with one decomposition and one division by P.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn rotate_and_sum(&self, a: &Ciphertext, steps: &[i64], gadget: usize) -> Result<Ciphertext, CkksError> {
        if steps.is_empty() {
            return Ok(a.clone());
        }
        let mut sum = self.rotate_and_sum_each(a, &[steps], gadget)?.remove(0);
        self.for_limbs(&mut sum, |p, limb, i| {
            self.parameters.kernels().add(self.parameters.modulus(p), limb, a.polys.row(i));
        });
        Ok(sum)
    }

    /// For each list of steps, none of them empty, the sum of the rotations by them, all from one decomposition.
    fn rotate_and_sum_each(
        &self,
        a: &Ciphertext,
        sums: &[&[i64]],
        gadget: usize,
    ) -> Result<Vec<Ciphertext>, CkksError> {
        const OP: &str = "rotate";
        let parameters = &self.parameters;
        let (n, basis) = (parameters.n(), parameters.level(a.level));
        let plan = parameters.switch_plan(OP, a.level, gadget)?;
        let second = Column { polys: &a.polys, index: 1 };
        // Digits that serve one sum only are made on the way, and never leave the cache.
        let digits = (sums.len() > 1).then(|| plan.decompose(parameters, second));
        let mut out = Vec::with_capacity(sums.len());
        for steps in sums {
            let keys = steps
                .iter()
                .map(|&s| self.keys.key(gadget, KeyKind::Rotate(s), a.level))
                .collect::<Result<Vec<_>, _>>()?;
            let bound = keys.iter().map(|k| plan.bind(parameters, k, a.level)).collect::<Result<Vec<_>, _>>()?;
            let add_first = |out: &mut [u32], limb: usize, component: usize| {
                if component > 0 {
                    return;
                }
                let mut moved = Polys::scratch(n, 1, 1);
                for key in &bound {
                    parameters.kernels().permute(key.map().source(), moved.words_mut(), a.polys.limb(limb, 0));
                    parameters.kernels().add(parameters.modulus(basis[limb]), out, moved.words());
                }
            };
            let polys = if let Some(digits) = &digits {
                let mut switched = Polys::scratch(n, plan.extended.len(), 2);
                let limbs = switched.words_mut().par_chunks_mut(2 * n).zip(&plan.extended).enumerate();
                limbs.for_each(|(i, (limb, &p))| {
                    let (out0, out1) = limb.split_at_mut(n);
                    for (index, key) in bound.iter().enumerate() {
                        let product = key.product(parameters.modulus(p), i, 0..n, digits.row(i), None);
                        parameters.kernels().rotate_product(&product, index > 0, out0, out1);
                    }
                });
                let mut polys = plan.mod_down.apply(parameters, &switched, &[0, 1]);
                let limbs = polys.words_mut().par_chunks_mut(2 * n).enumerate();
                limbs.for_each(|(i, limb)| add_first(&mut limb[..n], i, 0));
                polys
            } else {
                plan.switch(parameters, second, &bound.iter().collect::<Vec<_>>(), add_first)
            };
            out.push(Ciphertext { polys, level: a.level, scale: a.scale });
        }
        Ok(out)
    }
}

/// Adds block values (one for each of equally long runs) to a transformed limb.
pub(crate) fn add_blocks(parameters: &Parameters, prime: u16, limb: &mut [u32], values: &[u32]) {
    let m = parameters.modulus(prime);
    if values.len() == limb.len() {
        return parameters.kernels().add(m, limb, values);
    }
    let block = limb.len() / values.len();
    for (run, &v) in limb.chunks_exact_mut(block).zip(values) {
        for x in run {
            *x = m.add(*x, v);
        }
    }
}
