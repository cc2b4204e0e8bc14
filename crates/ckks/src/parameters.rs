//! Parameters: plain data in, checked and immutable tables out.

use crate::{CkksError, security};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use umbra_ring::{Automorphism, Modulus, NttTable, kernels::Kernels};

use crate::division::BasisDivision;
use crate::keyswitch::SwitchPlan;
use rayon::prelude::*;

/// Parameters as plain data. Turn into [`Parameters`] to use them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersLiteral {
    /// Base-2 logarithm of the ring degree N.
    pub log_n: u32,
    /// All primes used anywhere; distinct, below 2^30, 1 modulo 2N.
    pub primes: Vec<u32>,
    /// Level `i` is the modulus that is the product of these primes (ascending indices), lowest
    /// level first.
    pub levels: Vec<Vec<u16>>,
    /// Key-switching gadgets.
    pub gadgets: Vec<GadgetLiteral>,
}

/// A key-switching gadget as plain data.
///
/// It serves a level when all of the level's primes occur in its digits and none in `special`, and the
/// digits that keep a prime at that level come first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GadgetLiteral {
    /// A partition of the primes that the gadget serves; indices into the primes.
    pub digits: Vec<Vec<u16>>,
    /// The special primes, whose product is P; indices into the primes.
    pub special: Vec<u16>,
}

/// Largest number of primes, levels, gadgets that a literal may have.
const MAX_COUNT: usize = 512;

struct Inner {
    literal: ParametersLiteral,
    tables: Vec<NttTable>,
    digest: [u8; 32],
    kernels: &'static Kernels,
    switch_plans: Mutex<HashMap<(usize, usize), Arc<SwitchPlan>>>,
    divisions: Mutex<HashMap<DivisionKey, Arc<BasisDivision>>>,
    automorphisms: Mutex<HashMap<u32, Arc<Automorphism>>>,
}

/// Source primes, target primes, exactness of a division.
type DivisionKey = (Vec<u16>, Vec<u16>, bool);

/// Checked parameters with their tables. Cloning is cheap.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

impl std::fmt::Debug for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Parameters(N = 2^{}, {} levels, log2 QP = {:.1})",
            self.log_n(),
            self.level_count(),
            self.literal().log_qp()
        )
    }
}

impl PartialEq for Parameters {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl GadgetLiteral {
    /// Whether the gadget can switch keys at a level of these primes.
    pub fn serves(&self, level: &[u16]) -> bool {
        let covered = level.iter().all(|p| self.digits.iter().flatten().any(|d| d == p));
        let kept = |digit: &Vec<u16>| digit.iter().any(|p| level.contains(p));
        let in_front = self.digits.iter().map(kept).is_sorted_by(|a, b| a >= b);
        covered && in_front && !level.iter().any(|p| self.special.contains(p))
    }
}

impl ParametersLiteral {
    /// Sum of the base-2 logarithms of the primes with these indices.
    fn log2_of<'a>(&self, primes: impl IntoIterator<Item = &'a u16>) -> f64 {
        primes.into_iter().map(|&i| (self.primes[i as usize] as f64).log2()).sum()
    }

    /// The largest modulus under which anything is encrypted: base-2 logarithm of Q_top or of a
    /// gadget's digits times its special primes. Indices must have been checked.
    pub fn log_qp(&self) -> f64 {
        let levels = self.levels.iter().map(|l| self.log2_of(l));
        let gadgets = self.gadgets.iter().map(|g| self.log2_of(g.digits.iter().flatten().chain(&g.special)));
        levels.chain(gadgets).fold(0.0, f64::max)
    }

    fn check_structure(&self) -> Result<(), CkksError> {
        let fail = |message: String| Err(CkksError::Parameters(message));
        if self.primes.len() > MAX_COUNT || self.levels.len() > MAX_COUNT || self.gadgets.len() > MAX_COUNT {
            return fail(format!("more than {MAX_COUNT} primes, levels or gadgets"));
        }
        let mut sorted = self.primes.clone();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != self.primes.len() {
            return fail("a prime occurs twice".into());
        }
        if self.levels.is_empty() {
            return fail("no level".into());
        }
        let in_range = |i: &u16| (*i as usize) < self.primes.len();
        for (i, level) in self.levels.iter().enumerate() {
            if level.is_empty() || !level.iter().all(in_range) || !level.windows(2).all(|w| w[0] < w[1]) {
                return fail(format!("level {i} is empty or not a strictly ascending list of prime indices"));
            }
            if i > 0 && self.log2_of(level) <= self.log2_of(&self.levels[i - 1]) {
                return fail(format!("level {i} is not larger than level {}", i - 1));
            }
        }
        for (i, gadget) in self.gadgets.iter().enumerate() {
            let mut all: Vec<u16> = gadget.digits.iter().flatten().chain(&gadget.special).copied().collect();
            let count = all.len();
            all.sort_unstable();
            all.dedup();
            if all.len() != count || !all.iter().all(in_range) {
                return fail(format!("gadget {i} repeats a prime or names one that does not exist"));
            }
            if gadget.special.is_empty() || gadget.digits.iter().any(Vec::is_empty) || gadget.digits.is_empty() {
                return fail(format!("gadget {i} has an empty digit or no special primes"));
            }
        }
        Ok(())
    }

    fn check_security(&self) -> Result<(), CkksError> {
        let limit = security::max_log_qp(self.log_n)?;
        let check = |log_qp: f64, place: String| {
            if log_qp <= limit as f64 {
                return Ok(());
            }
            Err(CkksError::Insecure { security: security::SECURITY_BITS, log_qp, limit, log_n: self.log_n, place })
        };
        for (i, level) in self.levels.iter().enumerate() {
            check(self.log2_of(level), format!("level {i}"))?;
        }
        for (i, gadget) in self.gadgets.iter().enumerate() {
            check(self.log2_of(gadget.digits.iter().flatten().chain(&gadget.special)), format!("gadget {i}"))?;
        }
        Ok(())
    }

    /// BLAKE3 over all fields: equal digests, equal parameters.
    fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("umbra 2026 parameters v1");
        let mut word = |x: usize| {
            hasher.update(&(x as u64).to_le_bytes());
        };
        word(self.log_n as usize);
        word(self.primes.len());
        self.primes.iter().for_each(|&p| word(p as usize));
        let mut list = |l: &[u16]| {
            word(l.len());
            l.iter().for_each(|&i| word(i as usize));
        };
        list(&[self.levels.len() as u16, self.gadgets.len() as u16]);
        self.levels.iter().for_each(|l| list(l));
        for gadget in &self.gadgets {
            list(&[gadget.digits.len() as u16]);
            gadget.digits.iter().for_each(|d| list(d));
            list(&gadget.special);
        }
        *hasher.finalize().as_bytes()
    }
}

impl Parameters {
    /// Checks a literal and builds its tables.
    ///
    /// # Errors
    /// [`CkksError::Parameters`] when malformed, [`CkksError::Insecure`] below 128 bits,
    /// [`CkksError::Ring`] for primes that do not fit, or kernels that are named and not there ([`Kernels::selected`]).
    pub fn new(literal: ParametersLiteral) -> Result<Self, CkksError> {
        literal.check_structure()?;
        literal.check_security()?;
        Self::build(literal, Kernels::selected()?)
    }

    /// As [`Self::new`] without the security check and with chosen kernels: for tests of small rings.
    /// Nothing encrypted under such parameters is secret.
    ///
    /// # Errors
    /// As [`Self::new`], except [`CkksError::Insecure`].
    pub fn insecure_for_tests(literal: ParametersLiteral, kernels: &'static Kernels) -> Result<Self, CkksError> {
        literal.check_structure()?;
        Self::build(literal, kernels)
    }

    fn build(literal: ParametersLiteral, kernels: &'static Kernels) -> Result<Self, CkksError> {
        let tables: Vec<NttTable> =
            literal.primes.par_iter().map(|&p| NttTable::new(literal.log_n, p)).collect::<Result<_, _>>()?;
        let digest = literal.digest();
        Ok(Self(Arc::new(Inner {
            literal,
            tables,
            digest,
            kernels,
            switch_plans: Mutex::default(),
            divisions: Mutex::default(),
            automorphisms: Mutex::default(),
        })))
    }

    /// The plain data these parameters were built from.
    pub fn literal(&self) -> &ParametersLiteral {
        &self.0.literal
    }

    /// Identifies the parameters in files.
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// Base-2 logarithm of the ring degree.
    pub fn log_n(&self) -> u32 {
        self.0.literal.log_n
    }

    /// Ring degree.
    pub fn n(&self) -> usize {
        1 << self.log_n()
    }

    /// Number of slots: N/2.
    pub fn slots(&self) -> usize {
        self.n() / 2
    }

    /// Number of levels.
    pub fn level_count(&self) -> usize {
        self.0.literal.levels.len()
    }

    /// The highest level.
    pub fn top_level(&self) -> usize {
        self.level_count() - 1
    }

    /// Indices of the primes of a level. Panics on a level that does not exist, see
    /// [`Self::check_level`].
    pub fn level(&self, level: usize) -> &[u16] {
        &self.0.literal.levels[level]
    }

    /// # Errors
    /// [`CkksError::NoSuchLevel`].
    pub fn check_level(&self, op: &'static str, level: usize) -> Result<(), CkksError> {
        if level < self.level_count() {
            return Ok(());
        }
        Err(CkksError::NoSuchLevel { op, level, top: self.top_level() })
    }

    /// Base-2 logarithm of a level's modulus.
    pub fn log_q(&self, level: usize) -> f64 {
        self.0.literal.log2_of(self.level(level))
    }

    /// What rescaling from one level to another divides by: dropped primes over added primes.
    pub fn rescale_factor(&self, from: usize, to: usize) -> f64 {
        let literal = &self.0.literal;
        let product = |a: &[u16], b: &[u16]| -> f64 {
            a.iter().filter(|i| !b.contains(i)).map(|&i| literal.primes[i as usize] as f64).product()
        };
        let (from, to) = (self.level(from), self.level(to));
        product(from, to) / product(to, from)
    }

    /// Transform tables of a prime.
    #[inline]
    pub fn table(&self, prime: u16) -> &NttTable {
        &self.0.tables[prime as usize]
    }

    /// Modulus of a prime index.
    #[inline]
    pub fn modulus(&self, prime: u16) -> &Modulus {
        self.0.tables[prime as usize].modulus()
    }

    /// The kernels everything runs on.
    #[inline]
    pub fn kernels(&self) -> &'static Kernels {
        self.0.kernels
    }

    /// The decomposition plan of a gadget at a level.
    ///
    /// # Errors
    /// [`CkksError::Gadget`] when the gadget does not serve the level.
    pub fn switch_plan(&self, op: &'static str, level: usize, gadget: usize) -> Result<Arc<SwitchPlan>, CkksError> {
        self.check_level(op, level)?;
        let mut plans = self.0.switch_plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&(level, gadget)) {
            return Ok(plan.clone());
        }
        let plan = Arc::new(SwitchPlan::new(self, op, level, gadget)?);
        plans.insert((level, gadget), plan.clone());
        Ok(plan)
    }

    /// The division from one basis to another, see [`BasisDivision`].
    pub(crate) fn division(&self, source: &[u16], target: &[u16], exact: bool) -> Arc<BasisDivision> {
        let mut divisions = self.0.divisions.lock().unwrap_or_else(PoisonError::into_inner);
        divisions
            .entry((source.to_vec(), target.to_vec(), exact))
            .or_insert_with(|| Arc::new(BasisDivision::new(self, source, target, exact)))
            .clone()
    }

    /// The permutation of a Galois element.
    ///
    /// # Errors
    /// [`CkksError::Ring`] for an even or too large element.
    pub fn automorphism(&self, element: u32) -> Result<Arc<Automorphism>, CkksError> {
        let mut maps = self.0.automorphisms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = maps.get(&element) {
            return Ok(map.clone());
        }
        let map = Arc::new(Automorphism::new(self.log_n(), element)?);
        maps.insert(element, map.clone());
        Ok(map)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use umbra_ring::primes;

    /// A small ring for tests: `levels` levels of about 33 bits on top of a base of two primes.
    pub(crate) fn toy(log_n: u32, levels: usize) -> ParametersLiteral {
        let mut all = primes::nearest(log_n, 30.0, levels + 12, &[]).unwrap();
        let big = all.len() as u16;
        for bits in [28.0, 26.0, 24.0] {
            let more = primes::nearest(log_n, bits, 1, &all).unwrap();
            all.extend(more);
        }
        // Level i holds 2 + i big primes, and one fine prime on two levels of three.
        let level = |i: usize| -> Vec<u16> {
            let mut level: Vec<u16> = (0..2 + i as u16).collect();
            if !i.is_multiple_of(3) {
                level.push(big + (i % 3) as u16 - 1);
            }
            level
        };
        let literal_levels: Vec<Vec<u16>> = (0..levels).map(level).collect();
        let mut digits: Vec<Vec<u16>> =
            (0..levels as u16 + 1).collect::<Vec<_>>().chunks(3).map(<[u16]>::to_vec).collect();
        digits[0].extend([big, big + 1]);
        let special: Vec<u16> = (levels as u16 + 4..levels as u16 + 9).collect();
        ParametersLiteral {
            log_n,
            primes: all,
            levels: literal_levels,
            gadgets: vec![GadgetLiteral { digits, special }],
        }
    }

    #[test]
    fn refuses_malformed_and_insecure_literals() {
        let good = toy(10, 3);
        assert!(Parameters::insecure_for_tests(good.clone(), Kernels::best()).is_ok());
        assert!(matches!(Parameters::new(good.clone()), Err(CkksError::NoSecurityBound { log_n: 10 })));
        assert!(matches!(Parameters::new(toy(12, 4)), Err(CkksError::Insecure { limit: 107, .. })));
        type Damage = fn(&mut ParametersLiteral);
        let damages: [Damage; 8] = [
            |l| l.primes[1] = l.primes[0],
            |l| l.levels.clear(),
            |l| l.levels[0] = vec![],
            |l| l.levels[1] = vec![1, 0],
            |l| l.levels[2].push(9999),
            |l| l.gadgets[0].special.clear(),
            |l| l.gadgets[0].special[0] = l.gadgets[0].digits[0][0],
            |l| l.levels.swap(0, 2),
        ];
        for (i, damage) in damages.iter().enumerate() {
            let mut bad = good.clone();
            damage(&mut bad);
            let result = Parameters::insecure_for_tests(bad, Kernels::best());
            assert!(matches!(result, Err(CkksError::Parameters(_))), "damage {i}: {result:?}");
        }
        let mut bad = good;
        bad.primes[0] = 15;
        assert!(matches!(Parameters::insecure_for_tests(bad, Kernels::best()), Err(CkksError::Ring(_))));
    }
}
