//! What the stages that are not circuits leave, for people.

use std::fmt;

use umbra_ckks::log2_of;
use umbra_program::Program;

use crate::circuit::Circuit;
use crate::circuit::display::Listing;
use crate::keys::ShapeKind;
use crate::packing::Packing;
use crate::plan::Plan;

/// A circuit with the ciphertexts of its values.
pub(crate) fn packed<'a>(packing: &'a dyn Packing, circuit: &'a Circuit) -> Listing<'a> {
    circuit.listing(|id| {
        let value = &circuit.values[id];
        match packing.ciphertexts(value) {
            1 => "1 ciphertext".into(),
            count => format!("{count} ciphertexts"),
        }
    })
}

/// The gadgets, with the levels that each serves: digits and special primes by their index in the pool.
pub(crate) struct Gadgets<'p>(pub &'p Plan);

impl fmt::Display for Gadgets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { choice, pool, .. } = self.0;
        for (i, gadget) in choice.gadgets.iter().enumerate() {
            let levels: Vec<usize> = (0..choice.of_level.len()).filter(|level| choice.of_level[*level] == i).collect();
            let (low, high) = (levels.first().copied().unwrap_or(0), levels.last().copied().unwrap_or(0));
            writeln!(f, "gadget {i}, levels {low} to {high}")?;
            for digit in &gadget.digits {
                writeln!(f, "  digit    {:>6.1} bits  {}", log2_of(pool, digit), list(digit))?;
            }
            writeln!(f, "  special  {:>6.1} bits  {}", log2_of(pool, &gadget.special), list(&gadget.special))?;
        }
        Ok(())
    }
}

/// How the rotations of each step are split, and the keys.
pub(crate) struct Keys<'p>(pub &'p Plan, pub &'p Program);

impl fmt::Display for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(plan, program) = self;
        let steps = plan.shapes.iter().enumerate().filter_map(|(id, shape)| Some((id, shape.as_ref()?)));
        for ((id, shape), split) in steps.zip(&plan.choice.splits) {
            let gadget = plan.choice.of_level[shape.level];
            write!(f, "%{id} at level {}, gadget {gadget}: ", shape.level)?;
            match &shape.kind {
                ShapeKind::Square(_) => writeln!(f, "relinearize")?,
                ShapeKind::Rotations(rotations, _) => {
                    let each: Vec<String> = rotations.iter().map(|rotations| list(rotations)).collect();
                    writeln!(f, "sum of rotations by {}", each.join(", then "))?;
                }
                ShapeKind::Linear { class, diagonals, .. } => {
                    writeln!(f, "{diagonals} diagonals, {}", plan.classes[*class][*split])?;
                }
            }
        }
        let keys = program.key_set();
        for gadget in 0..plan.choice.gadgets.len() {
            let own: Vec<_> = keys.iter().filter(|key| key.gadget.index() == gadget).collect();
            let bytes: u64 = own.iter().map(|key| key.bytes(&program.client.parameters)).sum();
            writeln!(f, "gadget {gadget}: {} keys, {:.1} MB", own.len(), bytes as f64 / 1e6)?;
        }
        Ok(())
    }
}

fn list<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}
