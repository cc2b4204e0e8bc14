//! Checks of a client specification.

use std::collections::BTreeSet;

use umbra_ckks::{GadgetLiteral, KeyId, KeyKind, Level, ParametersLiteral};

use super::{MAX_CIPHERTEXTS, MAX_CLASSES, MAX_COUNT, gib, invalid, is_scale, printable};
use crate::layout::ring;
use crate::{ClientSpec, InputLayout, Layout, OutputLayout, ProgramError};

/// Keys at most.
const MAX_KEYS: usize = 1 << 16;
/// Bytes of evaluation keys in a file at most: what a file of them may have.
const MAX_KEY_BYTES: u64 = 64 << 30;
/// Images and members at most, before anything is computed with them.
const MAX_MANY: usize = 1 << 17;

/// See [`ClientSpec::check`].
pub(crate) fn client(spec: &ClientSpec) -> Result<(), ProgramError> {
    printable(std::iter::once(("name", &spec.name)).chain(spec.classes.iter().map(|class| ("class", class))))?;
    parameters(&spec.parameters)?;
    keys(spec)?;
    if let Err(reason) = spec.image.check() {
        return Err(invalid("image", reason, "one that a network can take".into()));
    }
    layout(spec)?;
    input(spec)?;
    output(spec)?;
    if spec.logit_range.is_some_and(|[min, max]| !(min.is_finite() && max.is_finite() && min <= max)) {
        return Err(invalid("range of the logits", format!("{:?}", spec.logit_range), "[min, max]".into()));
    }
    if spec.familiar.as_ref().is_some_and(|familiar| !familiar.is_sound()) {
        return Err(invalid("ranges of what is familiar", format!("{:?}", spec.familiar), "[min, max] each".into()));
    }
    if !(spec.logit_error.is_finite() && spec.logit_error >= 0.0) {
        return Err(invalid("predicted error of a logit", spec.logit_error, "a finite number from 0".into()));
    }
    Ok(())
}

fn parameters(literal: &ParametersLiteral) -> Result<(), ProgramError> {
    let ParametersLiteral { log_n, primes, levels, gadgets } = literal;
    if !(4..=17).contains(log_n) {
        return Err(invalid("log2 of the ring degree", log_n, "4 to 17".into()));
    }
    for (what, count) in
        [("number of primes", primes.len()), ("number of levels", levels.len()), ("number of gadgets", gadgets.len())]
    {
        if count == 0 || count > MAX_COUNT {
            return Err(invalid(what, count, format!("1 to {MAX_COUNT}")));
        }
    }
    if let Some(p) = primes.iter().find(|p| **p >= 1 << 30 || **p % (2 << log_n) != 1) {
        return Err(invalid("prime", p, format!("below 2^30 and 1 modulo 2^{}", log_n + 1)));
    }
    if primes.iter().collect::<BTreeSet<_>>().len() != primes.len() {
        return Err(invalid("list of primes", "one with repetitions", "distinct primes".into()));
    }
    let known = |i: &u16| (*i as usize) < primes.len();
    for level in levels {
        if level.is_empty() || !level.iter().all(known) || !level.is_sorted_by(|a, b| a < b) {
            return Err(invalid("level", format!("{level:?}"), "ascending indices of primes".into()));
        }
    }
    if !levels.is_sorted_by(|a, b| literal.log2_of(a) < literal.log2_of(b)) {
        return Err(invalid("list of levels", "one that does not grow", "ascending moduli".into()));
    }
    for gadget in gadgets {
        let all: Vec<u16> = gadget.digits.iter().flatten().chain(&gadget.special).copied().collect();
        let distinct = all.iter().collect::<BTreeSet<_>>().len() == all.len();
        let full = !gadget.special.is_empty() && !gadget.digits.is_empty();
        if !full || gadget.digits.iter().any(Vec::is_empty) || !distinct || !all.iter().all(known) {
            let expected = "disjoint nonempty digits and special primes";
            return Err(invalid("gadget", format!("{gadget:?}"), expected.into()));
        }
    }
    // Each costs tables as long as the ring.
    let used = literal.used_primes().len();
    if used < primes.len() {
        let expected = format!("{used}, those of levels and gadgets");
        return Err(invalid("number of primes", primes.len(), expected));
    }
    Ok(())
}

fn keys(spec: &ClientSpec) -> Result<(), ProgramError> {
    let ClientSpec { keys, parameters, .. } = spec;
    if keys.len() > MAX_KEYS {
        return Err(invalid("number of keys", keys.len(), format!("at most {MAX_KEYS}")));
    }
    if !keys.is_sorted_by(|a, b| (a.gadget, a.kind) < (b.gadget, b.kind)) {
        return Err(invalid("list of keys", "not in order", "each once, sorted by gadget and kind".into()));
    }
    let half = (spec.slots() / 2) as i64;
    let fits = |steps: i64| (-half + 1..=half).contains(&steps);
    let sizes: Vec<Sizes> = parameters.gadgets.iter().map(|gadget| Sizes::of(parameters, gadget)).collect();
    let mut total = 0u64;
    for key in keys {
        let KeyId { gadget, kind, level } = *key;
        let bytes = sizes.get(gadget.index()).and_then(|sizes| *sizes.0.get(level.index())?);
        let rotates = match kind {
            KeyKind::Relinearize => true,
            KeyKind::Rotate(steps) => steps != 0 && fits(steps),
            KeyKind::Conjugate(steps) => fits(steps),
        };
        let Some(bytes) = bytes.filter(|_| rotates) else {
            let expected = "one whose gadget serves its level and whose rotation is in range".into();
            return Err(invalid("key", key, expected));
        };
        total = total.saturating_add(bytes);
    }
    if total > MAX_KEY_BYTES {
        return Err(invalid("size of the keys", gib(total as f64), format!("at most {}", gib(MAX_KEY_BYTES as f64))));
    }
    Ok(())
}

/// For each level, the bytes of a key of one gadget that is used up to that level ([`KeyId::bytes`]); none where the
/// gadget does not serve it. All at once, since a hostile file may name many keys of parameters with many primes.
struct Sizes(Vec<Option<u64>>);

impl Sizes {
    fn of(literal: &ParametersLiteral, gadget: &GadgetLiteral) -> Self {
        let mut digit_of = vec![None; literal.primes.len()];
        for (number, digit) in gadget.digits.iter().enumerate() {
            digit.iter().for_each(|&prime| digit_of[usize::from(prime)] = Some(number));
        }
        let (mut limbs, mut digits) = (BTreeSet::new(), BTreeSet::new());
        let mut of = |level: &Vec<u16>| {
            // As `GadgetLiteral::serves`: every prime is in a digit, and the digits that keep one come first.
            let own: BTreeSet<usize> =
                level.iter().map(|&prime| digit_of[usize::from(prime)]).collect::<Option<BTreeSet<_>>>()?;
            if own.last().is_some_and(|last| last + 1 != own.len()) {
                return None;
            }
            limbs.extend(level.iter().copied());
            digits.extend(own);
            Some((4 * (digits.len() * (limbs.len() + gadget.special.len())) as u64) << literal.log_n)
        };
        Self(literal.levels.iter().map(&mut of).collect())
    }
}

fn layout(spec: &ClientSpec) -> Result<(), ProgramError> {
    let Layout { images, members, .. } = spec.layout;
    let slots = spec.slots();
    if members == 0 || members > slots.min(MAX_MANY) {
        return Err(invalid("number of networks", members, format!("1 to {slots}")));
    }
    let positions = spec.input.positions;
    if positions == 0 || positions > slots {
        return Err(invalid("number of positions", positions, format!("1 to {slots}")));
    }
    let room = spec.layout.room(slots, positions);
    if images == 0 || images > room {
        return Err(invalid("number of images", images, format!("1 to {room}")));
    }
    Ok(())
}

fn input(spec: &ClientSpec) -> Result<(), ProgramError> {
    let InputLayout { positions, pitch, ciphertexts, level, scale } = &spec.input;
    let (height, width) = (spec.image.height, spec.image.width);
    if !spec.input.fits(spec.layout.packing, height, width) {
        let (expected_pitch, expected) = ring(height, width);
        return Err(invalid(
            "input layout",
            format!("pitch {pitch}, {positions} positions"),
            format!("pitch {expected_pitch}, {expected} positions"),
        ));
    }
    let in_range =
        |&(colour, tap): &(usize, i64)| colour < spec.image.channels && tap.unsigned_abs() < *positions as u64;
    let capacity = spec.input.capacity(spec.layout.packing, spec.slots());
    let fits = |c: &Vec<Option<(usize, i64)>>| c.len() == capacity && c.iter().flatten().all(in_range);
    if ciphertexts.is_empty() || ciphertexts.len() > MAX_CIPHERTEXTS || !ciphertexts.iter().all(fits) {
        let expected = format!("1 to {MAX_CIPHERTEXTS} ciphertexts of {capacity} channels each, with taps in range");
        return Err(invalid("input layout", format!("another one, of {} ciphertexts", ciphertexts.len()), expected));
    }
    end("input", spec, *level, *scale)
}

fn output(spec: &ClientSpec) -> Result<(), ProgramError> {
    let OutputLayout { level, scale, period, step, classes, flooding } = spec.output;
    if classes == 0 || classes > MAX_CLASSES || classes != spec.classes.len() {
        return Err(invalid("number of classes", classes, format!("that of the names, {}", spec.classes.len())));
    }
    let slots = spec.slots();
    if !period.is_power_of_two() || period > slots {
        return Err(invalid("output period", period, format!("a power of two up to {slots}")));
    }
    if let Some(expected) = OutputLayout::expected_period(spec.layout.packing, spec.input.positions)
        && period != expected
    {
        return Err(invalid("period of logits", period, expected.to_string()));
    }
    if !step.is_power_of_two() || step > period || !spec.layout.allows_step(step) {
        let expected = format!("a power of two from {} to {period}", spec.layout.logit_room());
        return Err(invalid("distance of logits", step, expected));
    }
    if spec.output.ciphertexts() > MAX_CIPHERTEXTS {
        let found = spec.output.ciphertexts();
        return Err(invalid("number of ciphertexts of logits", found, format!("at most {MAX_CIPHERTEXTS}")));
    }
    end("output", spec, level, scale)?;
    // More than the modulus holds would hide nothing more, and no overflow would be seen.
    let room = spec.parameters.log_q(level).exp2() / scale;
    if !(0.0..=room).contains(&flooding) {
        return Err(invalid("noise flooding", flooding, format!("a number from 0 to {room:.3e}")));
    }
    Ok(())
}

/// Level and scale at one end.
fn end(what: &'static str, spec: &ClientSpec, level: Level, scale: f64) -> Result<(), ProgramError> {
    let levels = spec.parameters.levels.len();
    if level.index() < levels && is_scale(scale) {
        return Ok(());
    }
    let expected = format!("a level below {levels} and a finite scale from 1");
    Err(invalid(what, format!("level {level} and scale {scale}"), expected))
}

#[cfg(test)]
mod tests {
    use umbra_ckks::Gadget;

    use super::*;

    /// Sizes of keys as the check sums them up are those of the keys themselves.
    #[test]
    fn sizes_of_keys_are_theirs() {
        let literal = ParametersLiteral {
            log_n: 5,
            primes: umbra_ring::primes::nearest(5, 29.0, 6, &[]).unwrap(),
            levels: vec![vec![0], vec![0, 1], vec![0, 2], vec![0, 1, 2], vec![0, 1, 2, 3]],
            gadgets: vec![
                GadgetLiteral { digits: vec![vec![0, 1], vec![2, 3]], special: vec![4, 5] },
                GadgetLiteral { digits: vec![vec![0, 1, 2]], special: vec![3] },
            ],
        };
        for (number, gadget) in literal.gadgets.iter().enumerate() {
            let sizes = Sizes::of(&literal, gadget);
            for (level, primes) in literal.levels.iter().enumerate() {
                let id = KeyId { gadget: Gadget::new(number), level: Level::new(level), kind: KeyKind::Rotate(1) };
                assert_eq!(sizes.0[level], gadget.serves(primes).then(|| id.bytes(&literal)), "{id}");
            }
        }
    }
}
