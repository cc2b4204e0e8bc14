//! Noise flooding of slots without logit: how much a server has to add so that they tell nothing of the image.
//!
//! Weights of these slots are 0, rounded as polynomials together with those of the logits: each slot holds errors of
//! rounding times the features that the last layer reads. All slots without logit, `n` of them, hold as many
//! combinations of features. Where these have the variance `V` each and the server adds the variance `s^2`, features
//! that all go the same way are explained by at most `n V / s^2` of their variance; others by less.

use umbra_program::ClientSpec;

use crate::circuit::Operation;
use crate::packing::sources;
use crate::plan::Plan;
use crate::precision::weight_rounding;

/// Part of the features' variance that slots without logit may explain. It is a fifth of what is promised: `V` is
/// measured on few images.
const EXPLAINED: f64 = 1.0 / 500.0;
/// How many times more features may vary than seen, where the images that they were seen on are not the network's.
const UNSEEN: f64 = 4.0;
/// Deviation of what is added at most, as a part of that of a value that wrapped: the client accepts 16 of them, and
/// has to tell an overflow.
const OVERFLOW: f64 = 1.0 / 64.0;

/// What a server adds to slots without logit.
pub(crate) struct Flooding {
    /// Its standard deviation.
    pub deviation: f64,
    /// Part of the features' variance that is explained at most.
    pub explained: f64,
}

impl Flooding {
    /// Of the program of a plan, for the client that this is; none where every slot has a logit, or features leave no
    /// trace. `samples` says whether the network brought the images that its features were seen on.
    pub fn of(plan: &Plan, client: &ClientSpec, samples: bool) -> Option<Self> {
        let slots: Vec<_> = (0..client.output.ciphertexts()).map(|k| client.free_slots(k)).collect();
        let free = slots.iter().flat_map(|slots| &slots.is_free).filter(|free| **free).count() as f64;
        let Leak { varying, all } = Leak::of(plan);
        // What is the same for every image hides behind it, too: limits count in deviations of what is added.
        let varying = if samples { varying } else { UNSEEN * varying };
        let wanted = (free * varying / EXPLAINED + all).sqrt();
        // Values that wrapped are uniform over the modulus in each coefficient of the ring, or of its part that
        // repeats.
        let repeats = slots.first().is_some_and(|slots| slots.repeats);
        let coefficients = if repeats { client.output.period } else { client.slots() } as f64;
        let room = client.parameters.log_q(client.output.level).exp2() / client.output.scale;
        let most = (OVERFLOW * room * (coefficients / 12.0).sqrt()).min(room);
        let deviation = wanted.min(most);
        (free > 0.0 && wanted > 0.0).then(|| Self { deviation, explained: free * varying / (deviation * deviation) })
    }
}

/// Mean squares of what errors of rounding make of features in a slot without logit.
struct Leak {
    /// Of what differs from image to image.
    varying: f64,
    /// Of everything.
    all: f64,
}

impl Leak {
    fn of(plan: &Plan) -> Self {
        let Plan { circuit, packing, gains, injected, places, diagonals, .. } = plan;
        let (id, value) = (circuit.output, &circuit.values[circuit.output]);
        let Operation::Affine(affine) = &value.operation else { return Self { varying: 0.0, all: 0.0 } };
        // Errors of weights do to a logit what they do to a slot without one: each diagonal has values in all slots.
        let each = injected[id].weights.iter().zip(&gains[id].weights);
        let varying = each.map(|(error, gain)| error * error * gain).sum();
        let rounding = weight_rounding(&**packing, value);
        let mut operands = Vec::new();
        for source in sources(affine) {
            let variance = (rounding * (places[source].bits - places[id].product).exp2()).powi(2);
            let count = packing.ciphertexts(&circuit.values[source]);
            operands.extend(std::iter::repeat_n(variance * gains[source].mean_square, count));
        }
        let sum: f64 = diagonals[id].keys().map(|(_, input, _)| operands.get(*input).copied().unwrap_or(0.0)).sum();
        Self { varying, all: sum / packing.ciphertexts(value).max(1) as f64 }
    }
}
