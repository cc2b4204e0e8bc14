//! From logits to classes.

/// Probabilities of the classes: `exp(x_i) / sum exp(x_j)`, without overflow for any finite logits. NaN where a logit
/// is NaN.
#[must_use]
pub fn softmax(logits: &[f64]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logits.iter().map(|x| (x - max).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.into_iter().map(|w| w / sum).collect()
}

/// The mean of the members' probabilities, class by class: what an ensemble says. Members must have as many logits
/// each.
#[must_use]
pub fn ensemble_probabilities(members: &[Vec<f64>]) -> Vec<f64> {
    let part = 1.0 / members.len().max(1) as f64;
    let mut mean = vec![0.0; members.first().map_or(0, Vec::len)];
    for member in members {
        mean.iter_mut().zip(softmax(member)).for_each(|(mean, p)| *mean += part * p);
    }
    mean
}

/// The index of the largest logit, the first of equals; `None` where there is none or one is NaN.
#[must_use]
pub fn top_class(logits: &[f64]) -> Option<usize> {
    if logits.iter().any(|x| x.is_nan()) {
        return None;
    }
    let best = |best: usize, i: usize| if logits[i] > logits[best] { i } else { best };
    (0..logits.len()).reduce(best)
}
