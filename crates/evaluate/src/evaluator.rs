//! Operations on ciphertexts.

use std::sync::Arc;

use rayon::prelude::*;

use crate::engine::Engine;
use crate::keyswitch::{BoundKey, Column, SwitchPlan};
use crate::tables::Tables;
use umbra_ckks::{
    Ciphertext, CkksError, Gadget, KeyId, KeyKind, KeySetId, KeyStore, Level, Parameters, Plaintext, SwitchingKey,
    error::check_key_set,
};
use umbra_ring::Polys;

/// Relative difference up to which two scales count as equal: far below any noise.
const SCALE_TOLERANCE: f64 = 1e-9;

/// Evaluates on the ciphertexts of one key set, with keys from a store. Holds no secret.
///
/// Every operation refuses operands of other parameters ([`CkksError::OtherParameters`]) and ciphertexts and keys of
/// another key set ([`CkksError::OtherKeySet`]), and makes no ciphertext whose scale is not a positive finite number
/// ([`CkksError::BadScale`]).
pub struct Evaluator<'k> {
    engine: Engine,
    key_set: KeySetId,
    keys: &'k dyn KeyStore,
}

impl std::fmt::Debug for Evaluator<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Evaluator({:?}, key set {})", self.parameters(), self.key_set)
    }
}

impl<'k> Evaluator<'k> {
    /// An evaluator for the ciphertexts of the store's key set.
    #[must_use]
    pub fn new(engine: &Engine, keys: &'k dyn KeyStore) -> Self {
        Self { engine: engine.clone(), key_set: keys.key_set(), keys }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        self.engine.parameters()
    }

    /// The key set of the keys and of all ciphertexts.
    #[must_use]
    pub fn key_set(&self) -> KeySetId {
        self.key_set
    }

    /// `a + b`: same level, same scale.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Scale`].
    pub fn add(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        const OP: &str = "add";
        self.check_both(OP, a, b)?;
        check_scales(OP, a.scale(), b.scale())?;
        self.map_limbs(a, a.scale(), |tables, p, limb, i| {
            tables.kernels().add(tables.modulus(p), limb, b.polys().row(i));
        })
    }

    /// `a - b`: same level, same scale.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Scale`].
    pub fn sub(&self, a: &Ciphertext, b: &Ciphertext) -> Result<Ciphertext, CkksError> {
        const OP: &str = "subtract";
        self.check_both(OP, a, b)?;
        check_scales(OP, a.scale(), b.scale())?;
        self.map_limbs(a, a.scale(), |tables, p, limb, i| {
            tables.kernels().sub(tables.modulus(p), limb, b.polys().row(i));
        })
    }

    /// `a + b` for a plaintext, dense or periodic: same level, same scale.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Scale`].
    pub fn add_plain(&self, a: &Ciphertext, b: &Plaintext) -> Result<Ciphertext, CkksError> {
        const OP: &str = "add a plaintext";
        self.check_plain(OP, a, b)?;
        check_scales(OP, a.scale(), b.scale())?;
        self.map_limbs(a, a.scale(), |tables, p, limb, i| {
            add_blocks(tables, p, &mut limb[..tables.n()], b.polys().limb(i, 0));
        })
    }

    /// `a * b` for a plaintext, dense or periodic; the scales multiply.
    ///
    /// # Errors
    /// [`CkksError::Level`].
    pub fn mul_plain(&self, a: &Ciphertext, b: &Plaintext) -> Result<Ciphertext, CkksError> {
        self.check_plain("multiply by a plaintext", a, b)?;
        self.map_limbs(a, a.scale() * b.scale(), |tables, p, limb, i| {
            let (m, values) = (tables.modulus(p), b.polys().limb(i, 0));
            let block = tables.n() / values.len();
            for c in limb.chunks_exact_mut(tables.n()) {
                if block == 1 {
                    let copy = c.to_vec();
                    tables.kernels().mul(m, c, &copy, values);
                    continue;
                }
                for (c, &v) in c.chunks_exact_mut(block).zip(values) {
                    tables.kernels().mul_const(m, c, m.to_montgomery(v));
                }
            }
        })
    }

    /// `a * factor` exactly; the scale stays.
    ///
    /// # Errors
    /// None but those of every operation, see [`Evaluator`].
    pub fn mul_integer(&self, a: &Ciphertext, factor: i64) -> Result<Ciphertext, CkksError> {
        self.check("multiply by an integer", a)?;
        self.map_limbs(a, a.scale(), |tables, p, limb, _| {
            let m = tables.modulus(p);
            tables.kernels().mul_const(m, limb, m.to_montgomery(m.reduce_i64(factor)));
        })
    }

    /// Level alignment: the same ciphertext at a lower level whose primes are among its own. Limbs are dropped, scale
    /// and message stay.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::NotASubset`].
    pub fn mod_switch(&self, a: &Ciphertext, level: Level) -> Result<Ciphertext, CkksError> {
        const OP: &str = "mod switch";
        self.check(OP, a)?;
        let to = self.parameters().level_for(OP, level)?;
        let row = |p: &u16| a.basis().iter().position(|q| q == p);
        let rows = to.iter().map(row).collect::<Option<Vec<usize>>>();
        let rows = rows.ok_or(CkksError::NotASubset { op: OP, from: a.level(), to: level })?;
        self.ciphertext(a.polys().select(&rows), level, a.scale())
    }

    /// Divides by the modulus between two levels ([`Parameters::rescale_factor`]): message stays, scale shrinks.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`]; [`CkksError::Level`] when `level` is not lower.
    pub fn rescale(&self, a: &Ciphertext, level: Level) -> Result<Ciphertext, CkksError> {
        const OP: &str = "rescale";
        self.check(OP, a)?;
        let parameters = self.parameters();
        let target = parameters.level_for(OP, level)?;
        if level >= a.level() {
            return Err(CkksError::Level { op: OP, expected: Level(a.level().0.saturating_sub(1)), found: level });
        }
        let division = self.engine.division(a.basis(), target, true);
        let polys = division.apply(&self.engine.tables(), a.polys(), &[0, 1]);
        self.ciphertext(polys, level, a.scale() / parameters.rescale_factor(a.level(), level)?)
    }

    /// `a^2`, relinearized; the scale squares.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn square(&self, a: &Ciphertext, gadget: Gadget) -> Result<Ciphertext, CkksError> {
        const OP: &str = "square";
        self.check(OP, a)?;
        let plan = self.engine.switch_plan(OP, a.level(), gadget)?;
        let tables = &self.engine.tables();
        let n = tables.n();
        let mut tensor = Polys::scratch(n, a.polys().limbs(), 3);
        (tensor.words_mut().par_chunks_mut(3 * n)).zip(a.basis()).enumerate().for_each(|(i, (limb, &p))| {
            let (d0, rest) = limb.split_at_mut(n);
            let (d1, d2) = rest.split_at_mut(n);
            let factors = [a.polys().limb(i, 0), a.polys().limb(i, 1)];
            tables.kernels().square(tables.modulus(p), [d0, d1, d2], factors);
        });
        self.relinearize(OP, a, &tensor, a.scale() * a.scale(), (gadget, &plan))
    }

    /// `a * b`, relinearized: same level; the scales multiply.
    ///
    /// # Errors
    /// [`CkksError::Level`], [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn mul(&self, a: &Ciphertext, b: &Ciphertext, gadget: Gadget) -> Result<Ciphertext, CkksError> {
        const OP: &str = "multiply";
        self.check_both(OP, a, b)?;
        let plan = self.engine.switch_plan(OP, a.level(), gadget)?;
        let tables = &self.engine.tables();
        let n = tables.n();
        let mut tensor = Polys::scratch(n, a.polys().limbs(), 3);
        (tensor.words_mut().par_chunks_mut(3 * n)).zip(a.basis()).enumerate().for_each(|(i, (limb, &p))| {
            let (kernels, m) = (tables.kernels(), tables.modulus(p));
            let mut part = |at: usize, x: usize, y: usize, add: bool| {
                let out = &mut limb[at * n..(at + 1) * n];
                let before = add.then(|| out.to_vec());
                kernels.mul(m, out, a.polys().limb(i, x), b.polys().limb(i, y));
                if let Some(before) = before {
                    kernels.add(m, out, &before);
                }
            };
            part(0, 0, 0, false);
            part(1, 0, 1, false);
            part(1, 1, 0, true);
            part(2, 1, 1, false);
        });
        self.relinearize(OP, a, &tensor, a.scale() * b.scale(), (gadget, &plan))
    }

    /// Rotates the slots to the left by `steps`.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn rotate(&self, a: &Ciphertext, steps: i64, gadget: Gadget) -> Result<Ciphertext, CkksError> {
        let mut out = self.rotate_hoisted(a, &[steps], gadget)?;
        Ok(out.swap_remove(0))
    }

    /// Several rotations of one ciphertext, which share its decomposition.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn rotate_hoisted(&self, a: &Ciphertext, steps: &[i64], gadget: Gadget) -> Result<Vec<Ciphertext>, CkksError> {
        let sums: Vec<&[i64]> = steps.chunks(1).collect();
        let rotated = self.rotate_and_sum_each("rotate", a, &sums, gadget)?;
        rotated.into_iter().map(|polys| self.ciphertext(polys, a.level(), a.scale())).collect()
    }

    /// `a` plus its rotations by each of `steps`, with one decomposition and one division by P.
    ///
    /// # Errors
    /// [`CkksError::Gadget`], [`CkksError::MissingKey`].
    pub fn rotate_and_sum(&self, a: &Ciphertext, steps: &[i64], gadget: Gadget) -> Result<Ciphertext, CkksError> {
        const OP: &str = "rotate and sum";
        if steps.is_empty() {
            self.check(OP, a)?;
            return Ok(a.clone());
        }
        let mut sum = self.rotate_and_sum_each(OP, a, &[steps], gadget)?.swap_remove(0);
        self.for_limbs(&mut sum, a.basis(), |tables, p, limb, i| {
            tables.kernels().add(tables.modulus(p), limb, a.polys().row(i));
        });
        self.ciphertext(sum, a.level(), a.scale())
    }

    /// From `(d0, d1, d2)` over the primes of the level of `like`, with the gadget of `plan`.
    fn relinearize(
        &self,
        op: &'static str,
        like: &Ciphertext,
        tensor: &Polys,
        scale: f64,
        (gadget, plan): (Gadget, &SwitchPlan),
    ) -> Result<Ciphertext, CkksError> {
        let level = like.level();
        let key = self.key(op, KeyId { gadget, kind: KeyKind::Relinearize, level })?;
        let bound = self.bind(op, plan, &key, level)?;
        let (tables, basis) = (&self.engine.tables(), like.basis());
        let polys = plan.switch(tables, Column { polys: tensor, index: 2 }, &[&bound], |out, limb, component| {
            tables.kernels().add(tables.modulus(basis[limb]), out, tensor.limb(limb, component));
        });
        self.ciphertext(polys, level, scale)
    }

    /// For each list of steps, none of them empty, the sum of the rotations by them, all from one decomposition.
    fn rotate_and_sum_each(
        &self,
        op: &'static str,
        a: &Ciphertext,
        sums: &[&[i64]],
        gadget: Gadget,
    ) -> Result<Vec<Polys>, CkksError> {
        self.check(op, a)?;
        let (tables, level, basis) = (&self.engine.tables(), a.level(), a.basis());
        let n = tables.n();
        let plan = self.engine.switch_plan(op, level, gadget)?;
        let second = Column { polys: a.polys(), index: 1 };
        // Digits that serve one sum only are made on the way, and never leave the cache.
        let digits = (sums.len() > 1).then(|| plan.decompose(tables, second));
        let mut out = Vec::with_capacity(sums.len());
        for steps in sums {
            let keys = (steps.iter())
                .map(|&s| self.key(op, KeyId { gadget, kind: KeyKind::Rotate(s), level }))
                .collect::<Result<Vec<_>, _>>()?;
            let bound = keys.iter().map(|k| self.bind(op, &plan, k, level)).collect::<Result<Vec<_>, _>>()?;
            let add_first = |out: &mut [u32], limb: usize, component: usize| {
                if component > 0 {
                    return;
                }
                let mut moved = Polys::scratch(n, 1, 1);
                for key in &bound {
                    tables.kernels().permute(key.map().source(), moved.words_mut(), a.polys().limb(limb, 0));
                    tables.kernels().add(tables.modulus(basis[limb]), out, moved.words());
                }
            };
            let polys = if let Some(digits) = &digits {
                let mut switched = Polys::scratch(n, plan.extended.len(), 2);
                let limbs = switched.words_mut().par_chunks_mut(2 * n).zip(&plan.extended).enumerate();
                limbs.for_each(|(i, (limb, &p))| {
                    let (out0, out1) = limb.split_at_mut(n);
                    for (index, key) in bound.iter().enumerate() {
                        let product = key.product(tables.modulus(p), i, 0..n, digits.row(i), None);
                        tables.kernels().rotate_product(&product, index > 0, out0, out1);
                    }
                });
                let mut polys = plan.mod_down.apply(tables, &switched, &[0, 1]);
                let limbs = polys.words_mut().par_chunks_mut(2 * n).enumerate();
                limbs.for_each(|(i, limb)| add_first(&mut limb[..n], i, 0));
                polys
            } else {
                plan.switch(tables, second, &bound.iter().collect::<Vec<_>>(), add_first)
            };
            out.push(polys);
        }
        Ok(out)
    }

    /// What becomes of a ciphertext whose limbs `f` changes as in [`Self::for_limbs`].
    fn map_limbs(
        &self,
        a: &Ciphertext,
        scale: f64,
        f: impl Fn(&Tables<'_>, u16, &mut [u32], usize) + Sync,
    ) -> Result<Ciphertext, CkksError> {
        let mut polys = a.polys().clone();
        self.for_limbs(&mut polys, a.basis(), f);
        self.ciphertext(polys, a.level(), scale)
    }

    /// Runs `f(tables, prime, limb of both components, limb index)` over limbs modulo the primes `basis`.
    fn for_limbs(&self, polys: &mut Polys, basis: &[u16], f: impl Fn(&Tables<'_>, u16, &mut [u32], usize) + Sync) {
        let (tables, stride) = (&self.engine.tables(), polys.stride());
        let limbs = polys.words_mut().par_chunks_mut(stride).zip(basis).enumerate();
        limbs.for_each(|(i, (limb, &prime))| f(tables, prime, limb, i));
    }

    /// A ciphertext of the evaluator's parameters and key set.
    pub(crate) fn ciphertext(&self, polys: Polys, level: Level, scale: f64) -> Result<Ciphertext, CkksError> {
        Ciphertext::from_polys(self.parameters(), self.key_set, level, scale, polys)
    }

    /// Refuses a ciphertext of other parameters or of another key set.
    pub(crate) fn check(&self, op: &'static str, a: &Ciphertext) -> Result<(), CkksError> {
        self.parameters().check_same(op, a.parameters())?;
        check_key_set(op, self.key_set, a.key_set())
    }

    fn check_both(&self, op: &'static str, a: &Ciphertext, b: &Ciphertext) -> Result<(), CkksError> {
        self.check(op, a)?;
        self.check(op, b)?;
        same_level(op, a.level(), b.level())
    }

    fn check_plain(&self, op: &'static str, a: &Ciphertext, b: &Plaintext) -> Result<(), CkksError> {
        self.check(op, a)?;
        self.parameters().check_same(op, b.parameters())?;
        same_level(op, a.level(), b.level())
    }

    /// A key of the store, which is what it is said to be.
    pub(crate) fn key(&self, op: &'static str, id: KeyId) -> Result<Arc<SwitchingKey>, CkksError> {
        let key = self.keys.key(id)?;
        self.parameters().check_same(op, key.parameters())?;
        check_key_set(op, self.key_set, key.key_set())?;
        let found = key.id();
        if (found.gadget, found.kind) != (id.gadget, id.kind) || found.level < id.level {
            return Err(CkksError::UnreadableKey { key: id, reason: format!("the store gave {found} for it") });
        }
        Ok(key)
    }

    /// A key ready for products at the level of a plan.
    pub(crate) fn bind<'a>(
        &self,
        op: &'static str,
        plan: &SwitchPlan,
        key: &'a SwitchingKey,
        level: Level,
    ) -> Result<BoundKey<'a>, CkksError> {
        let map = self.engine.automorphism(key.element())?;
        let lacking = CkksError::Level { op, expected: level, found: key.id().level };
        plan.bind(key, map).ok_or(lacking)
    }
}

fn same_level(op: &'static str, expected: Level, found: Level) -> Result<(), CkksError> {
    if expected == found { Ok(()) } else { Err(CkksError::Level { op, expected, found }) }
}

/// Refuses scales that differ by more than rounding.
pub(crate) fn check_scales(op: &'static str, left: f64, right: f64) -> Result<(), CkksError> {
    if ((left - right) / right).abs() <= SCALE_TOLERANCE {
        return Ok(());
    }
    Err(CkksError::Scale { op, left, right })
}

/// Adds block values (one for each of equally long runs) to a transformed limb.
pub(crate) fn add_blocks(tables: &Tables<'_>, prime: u16, limb: &mut [u32], values: &[u32]) {
    let m = tables.modulus(prime);
    if values.len() == limb.len() {
        return tables.kernels().add(m, limb, values);
    }
    let block = limb.len() / values.len();
    for (run, &v) in limb.chunks_exact_mut(block).zip(values) {
        for x in run {
            *x = m.add(*x, v);
        }
    }
}
