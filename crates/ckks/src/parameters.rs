//! Parameters: plain data in, checked and immutable tables out.

use std::sync::Arc;

use rayon::prelude::*;

use crate::error::CkksError;
use crate::identity::ShortDigest;
use crate::index::{Gadget, Level};
use crate::literal::{GadgetLiteral, ParametersLiteral};
use crate::security;
use umbra_ring::{Modulus, NttTable, kernels::Kernels};

/// Largest number of primes, levels, gadgets that a literal may have.
const MAX_COUNT: usize = 512;

/// Checked parameters with their tables. Cloning is cheap.
///
/// Two are equal when their literals are; the kernels they run on make no difference to any result.
#[derive(Clone)]
pub struct Parameters(Arc<Inner>);

struct Inner {
    /// Its structure was checked.
    literal: ParametersLiteral,
    digest: [u8; 32],
    /// Of each prime.
    tables: Vec<NttTable>,
    kernels: &'static Kernels,
}

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
        Arc::ptr_eq(&self.0, &other.0) || self.0.digest == other.0.digest
    }
}

impl Eq for Parameters {}

impl Parameters {
    /// Checks a literal and builds its tables.
    ///
    /// # Errors
    /// [`CkksError::Parameters`] when malformed, [`CkksError::Insecure`] below 128 bits, [`CkksError::Ring`] for primes
    /// that do not fit, or kernels that are named and not there ([`Kernels::selected`]).
    pub fn new(literal: ParametersLiteral) -> Result<Self, CkksError> {
        check_structure(&literal)?;
        check_security(&literal)?;
        Self::build(literal, Kernels::selected()?)
    }

    /// As [`Self::new`] without the security check and with chosen kernels: for tests of small rings. Nothing encrypted
    /// under such parameters is secret.
    ///
    /// # Errors
    /// As [`Self::new`], except [`CkksError::Insecure`].
    pub fn insecure_for_tests(literal: ParametersLiteral, kernels: &'static Kernels) -> Result<Self, CkksError> {
        check_structure(&literal)?;
        Self::build(literal, kernels)
    }

    fn build(literal: ParametersLiteral, kernels: &'static Kernels) -> Result<Self, CkksError> {
        let tables = literal.primes.par_iter().map(|&p| NttTable::new(literal.log_n, p)).collect::<Result<_, _>>()?;
        Ok(Self(Arc::new(Inner { digest: digest(&literal), literal, tables, kernels })))
    }

    /// The plain data these parameters were built from.
    #[must_use]
    pub fn literal(&self) -> &ParametersLiteral {
        &self.0.literal
    }

    /// Identifies the parameters in files.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.0.digest
    }

    /// Identifies the parameters in messages.
    #[must_use]
    pub fn short_digest(&self) -> ShortDigest {
        ShortDigest::of(&self.0.digest)
    }

    /// Refuses what belongs to other parameters than these.
    ///
    /// # Errors
    /// [`CkksError::OtherParameters`].
    #[inline]
    pub fn check_same(&self, op: &'static str, found: &Self) -> Result<(), CkksError> {
        if self == found {
            return Ok(());
        }
        Err(CkksError::OtherParameters { op, expected: self.short_digest(), found: found.short_digest() })
    }

    /// Base-2 logarithm of the ring degree.
    #[inline]
    #[must_use]
    pub fn log_n(&self) -> u32 {
        self.0.literal.log_n
    }

    /// Ring degree.
    #[inline]
    #[must_use]
    pub fn n(&self) -> usize {
        1 << self.log_n()
    }

    /// Number of slots: N/2.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.n() / 2
    }

    /// Number of levels.
    #[must_use]
    pub fn level_count(&self) -> usize {
        self.literal().levels.len()
    }

    /// All levels, the lowest first.
    pub fn levels(&self) -> impl DoubleEndedIterator<Item = Level> + use<> {
        (0..self.level_count()).map(Level::new)
    }

    /// The highest level.
    #[must_use]
    pub fn top_level(&self) -> Level {
        Level::new(self.level_count() - 1)
    }

    /// Indices of the primes of a level.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`].
    pub fn level(&self, level: Level) -> Result<&[u16], CkksError> {
        self.level_for("look up a level", level)
    }

    /// As [`Self::level`], in the name of an operation.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`].
    pub fn level_for(&self, op: &'static str, level: Level) -> Result<&[u16], CkksError> {
        let missing = CkksError::NoSuchLevel { op, level, top: self.top_level() };
        self.literal().levels.get(level.index()).map(Vec::as_slice).ok_or(missing)
    }

    /// A gadget that serves a level, in the name of an operation.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::Gadget`].
    pub fn gadget_for(&self, op: &'static str, level: Level, gadget: Gadget) -> Result<&GadgetLiteral, CkksError> {
        let basis = self.level_for(op, level)?;
        let found = self.literal().gadgets.get(gadget.index()).filter(|g| g.serves(basis));
        found.ok_or(CkksError::Gadget { op, gadget, level })
    }

    /// Refuses a level that does not exist.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`].
    pub fn check_level(&self, op: &'static str, level: Level) -> Result<(), CkksError> {
        self.level_for(op, level).map(drop)
    }

    /// Refuses a gadget that does not serve a level.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::Gadget`].
    pub fn check_gadget(&self, op: &'static str, level: Level, gadget: Gadget) -> Result<(), CkksError> {
        self.gadget_for(op, level, gadget).map(drop)
    }

    /// Base-2 logarithm of a level's modulus.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`].
    pub fn log_q(&self, level: Level) -> Result<f64, CkksError> {
        self.check_level("look up a modulus", level)?;
        Ok(self.literal().log_q(level))
    }

    /// What rescaling from one level to another divides by, see [`ParametersLiteral::rescale_factor`].
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`].
    pub fn rescale_factor(&self, from: Level, to: Level) -> Result<f64, CkksError> {
        let missing = |level| CkksError::NoSuchLevel { op: "rescale", level, top: self.top_level() };
        // The literal was checked, so only levels can be missing, the higher one first.
        self.literal().rescale_factor(from, to).ok_or_else(|| missing(from.max(to)))
    }

    /// The kernels everything runs on.
    #[inline]
    #[must_use]
    pub fn kernels(&self) -> &'static Kernels {
        self.0.kernels
    }

    /// Transform tables and moduli, one a prime in the order of [`ParametersLiteral::primes`]: what the indices in
    /// levels, gadgets and bases say.
    #[inline]
    #[must_use]
    pub fn tables(&self) -> &[NttTable] {
        &self.0.tables
    }

    /// Primes of a level that exists, such as that of an operand of these parameters. Panics on any other.
    #[inline]
    pub(crate) fn basis(&self, level: Level) -> &[u16] {
        &self.literal().levels[level.index()]
    }

    /// Transform tables of a prime.
    #[inline]
    pub(crate) fn table(&self, prime: u16) -> &NttTable {
        &self.0.tables[usize::from(prime)]
    }

    /// Modulus of a prime index.
    #[inline]
    pub(crate) fn modulus(&self, prime: u16) -> &Modulus {
        self.table(prime).modulus()
    }

    /// Refuses residues that are not below their prime.
    ///
    /// # Errors
    /// [`CkksError::Residue`].
    pub(crate) fn check_residues(&self, what: &'static str, prime: u16, residues: &[u32]) -> Result<(), CkksError> {
        let p = self.modulus(prime).value();
        // The largest first: it is found with vector instructions, of which a search makes none.
        match residues.iter().copied().max() {
            Some(largest) if largest >= p => {
                let residue = residues.iter().copied().find(|&r| r >= p).unwrap_or(largest);
                Err(CkksError::Residue { what, residue, prime: p })
            }
            _ => Ok(()),
        }
    }
}

fn check_structure(literal: &ParametersLiteral) -> Result<(), CkksError> {
    let fail = |message: String| Err(CkksError::Parameters(message));
    if literal.primes.len() > MAX_COUNT || literal.levels.len() > MAX_COUNT || literal.gadgets.len() > MAX_COUNT {
        return fail(format!("more than {MAX_COUNT} primes, levels or gadgets"));
    }
    let mut sorted = literal.primes.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if sorted.len() != literal.primes.len() {
        return fail("a prime occurs twice".into());
    }
    if literal.levels.is_empty() {
        return fail("no level".into());
    }
    let in_range = |i: &u16| (*i as usize) < literal.primes.len();
    for (i, level) in literal.levels.iter().enumerate() {
        if level.is_empty() || !level.iter().all(in_range) || !level.windows(2).all(|w| w[0] < w[1]) {
            return fail(format!("level {i} is empty or not a strictly ascending list of prime indices"));
        }
        if i > 0 && literal.log2_of(level) <= literal.log2_of(&literal.levels[i - 1]) {
            return fail(format!("level {i} is not larger than level {}", i - 1));
        }
    }
    for (i, gadget) in literal.gadgets.iter().enumerate() {
        let mut all: Vec<u16> = gadget.primes().copied().collect();
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

fn check_security(literal: &ParametersLiteral) -> Result<(), CkksError> {
    let limit = security::max_log_qp(literal.log_n)?;
    let check = |log_qp: f64, place: String| {
        if log_qp <= limit as f64 {
            return Ok(());
        }
        Err(CkksError::Insecure { security: security::SECURITY_BITS, log_qp, limit, log_n: literal.log_n, place })
    };
    for (i, level) in literal.levels.iter().enumerate() {
        check(literal.log2_of(level), format!("level {i}"))?;
    }
    for (i, gadget) in literal.gadgets.iter().enumerate() {
        check(literal.log2_of(gadget.primes()), format!("gadget {i}"))?;
    }
    Ok(())
}

/// BLAKE3 over all fields: equal digests, equal parameters.
fn digest(literal: &ParametersLiteral) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("umbra 2026 parameters v1");
    let mut word = |x: usize| {
        hasher.update(&(x as u64).to_le_bytes());
    };
    word(literal.log_n as usize);
    word(literal.primes.len());
    literal.primes.iter().for_each(|&p| word(p as usize));
    let mut list = |l: &[u16]| {
        word(l.len());
        l.iter().for_each(|&i| word(i as usize));
    };
    list(&[literal.levels.len() as u16, literal.gadgets.len() as u16]);
    literal.levels.iter().for_each(|l| list(l));
    for gadget in &literal.gadgets {
        list(&[gadget.digits.len() as u16]);
        gadget.digits.iter().for_each(|d| list(d));
        list(&gadget.special);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use umbra_ring::primes;

    /// A small ring for tests: `levels` levels of about 33 bits on top of a base of two primes.
    fn toy(log_n: u32, levels: usize) -> ParametersLiteral {
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
