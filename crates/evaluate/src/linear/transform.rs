//! Linear transforms with encoded weights.

use std::sync::Arc;

use super::tiles::{Tile, places, tiles};
use super::weights::Weights;
use crate::engine::Engine;
use crate::keyswitch::SwitchPlan;
use umbra_ckks::{
    Bsgs, CkksError, Gadget, Level, Matrices, Parameters, Plaintext, TransformSpec, encode, error::check_scale,
    linear::Row,
};
use umbra_ring::{NttTable, subring::SubringNtt};

/// A linear transform with encoded weights, for one level and gadget.
#[derive(Debug)]
pub struct LinearTransform {
    pub(super) parameters: Parameters,
    pub(super) level: Level,
    pub(super) gadget: Gadget,
    pub(super) level_out: Level,
    pub(super) weight_scales: Vec<f64>,
    pub(super) scale_out: f64,
    pub(super) plan: Bsgs,
    pub(super) switch: Arc<SwitchPlan>,
    pub(super) rows: Vec<Row>,
    /// (input, baby) of each rotated input.
    pub(super) columns: Vec<(u32, u16)>,
    /// Rows that read the same inputs, with the columns they read: what is zero for a whole input is left out.
    pub(super) tiles: Vec<Tile>,
    pub(super) blocks: usize,
    /// For each limb what the terms of `2 y` are multiplied by, in either half of the residues; empty where weights are
    /// real.
    pub(super) parts: Vec<[[i32; 4]; 2]>,
    pub(super) weights: Weights,
    pub(super) bias: Vec<Plaintext>,
}

impl LinearTransform {
    /// Encodes the weights.
    ///
    /// # Errors
    /// [`CkksError::Length`] for indices, periods or biases that do not fit together; [`CkksError::Gadget`],
    /// [`CkksError::NoSuchLevel`], [`CkksError::Level`] for outputs above the level of the products, and those of
    /// encoding.
    pub fn new(engine: &Engine, spec: &TransformSpec<'_>) -> Result<Self, CkksError> {
        const OP: &str = "linear transform";
        let (parameters, tables) = (engine.parameters(), &engine.tables());
        parameters.check_level(OP, spec.level_out)?;
        let switch = engine.switch_plan(OP, spec.level, spec.gadget)?;
        if spec.level_out > spec.level {
            return Err(CkksError::Level { op: OP, expected: spec.level, found: spec.level_out });
        }
        spec.weight_scales.iter().chain([&spec.scale_out]).try_for_each(|&scale| check_scale(OP, scale))?;
        let wrong = |what, expected, found| CkksError::Length { op: OP, what, expected, found };
        let span = spec.masks.first().map_or(spec.period, Vec::len);
        if !span.is_power_of_two() || span > parameters.slots() || span < spec.period {
            return Err(wrong("slots of a mask (a power of two)", parameters.slots(), span));
        }
        if let Some(other) = spec.masks.iter().find(|m| m.len() != span) {
            return Err(wrong("slots of a mask", span, other.len()));
        }
        let period = spec.period;
        if !period.is_power_of_two() || period > parameters.slots() {
            return Err(wrong("slots of a period (a power of two)", parameters.slots(), period));
        }
        if spec.bias.len() != spec.outputs {
            return Err(wrong("biases", spec.outputs, spec.bias.len()));
        }
        for list in [&spec.plan.babies, &spec.plan.inner, &spec.plan.outer] {
            if !list.contains(&0) || list.len() > usize::from(u16::MAX) {
                return Err(wrong("zeros in a list of rotations", 1, 0));
            }
        }
        let plan = spec.plan;
        if plan.imaginary_steps.is_some() && !spec.masks.is_empty() {
            return Err(wrong("masks of complex weights", 0, spec.masks.len()));
        }
        for d in spec.diagonals {
            for (what, found, limit) in [
                ("as output of a diagonal", d.output as usize, spec.outputs),
                ("as input of a diagonal", d.input as usize, spec.weight_scales.len()),
                ("as outer rotation of a diagonal", d.outer.into(), plan.outer.len()),
                ("as inner rotation of a diagonal", d.inner.into(), plan.inner.len()),
                ("as baby rotation of a diagonal", d.baby.into(), plan.babies.len()),
                ("as mask of a diagonal", d.mask.map_or(0, usize::from), spec.masks.len().max(1)),
                ("as part of a weight", d.imaginary.into(), 1 + usize::from(plan.imaginary_steps.is_some())),
            ] {
                if found >= limit {
                    return Err(wrong(what, limit, found));
                }
            }
            if d.values.len() != period {
                return Err(wrong("weights in a diagonal", period, d.values.len()));
            }
        }
        let matrices = Matrices::of(spec.outputs, plan, spec.diagonals);
        let tiles = tiles(&matrices);
        let places = places(&matrices, &tiles, spec.diagonals);
        let weights = Weights::new(tables, spec, &switch.extended, &places, &tiles)?;
        // Integers are the same in all blocks.
        let blocks = if weights.are_integers() { 1 } else { 2 * span };
        let bias = (spec.bias.iter())
            .map(|b| {
                if b.len() != span {
                    return Err(wrong("biases in a period", span, b.len()));
                }
                encode(parameters, b, spec.level_out, spec.scale_out)
            })
            .collect::<Result<_, _>>()?;
        let basis = if plan.imaginary_steps.is_some() { &switch.extended[..] } else { &[] };
        let parts = basis.iter().map(|&prime| parts(tables.table(prime))).collect();
        Ok(Self {
            parameters: parameters.clone(),
            level: spec.level,
            gadget: spec.gadget,
            level_out: spec.level_out,
            weight_scales: spec.weight_scales.to_vec(),
            scale_out: spec.scale_out,
            plan: plan.clone(),
            switch,
            rows: matrices.sums().to_vec(),
            columns: matrices.rotated_inputs().to_vec(),
            tiles,
            blocks,
            parts,
            weights,
            bias,
        })
    }

    /// The parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Bytes of the weights that are kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.weights.bytes()
    }

    /// Row that gathers what is left to be rotated by `outer` and by `inner`.
    pub(super) fn row(&self, output: u32, outer: u16, inner: u16) -> usize {
        self.rows.binary_search(&Row { output, outer, inner }).unwrap_or(0)
    }
}

/// `1, 1, -i, i` modulo a prime, `i` being `X^(N/2)`: of opposite sign in the two halves of the residues.
fn parts(table: &NttTable) -> [[i32; 4]; 2] {
    let m = table.modulus();
    let of = |x: u32| m.centre(m.to_montgomery(x));
    let mut unit = [0, 1];
    SubringNtt::new(table, 1).forward(table, &mut unit);
    unit.map(|i| [of(1), of(1), of(m.neg(i)), of(i)])
}
