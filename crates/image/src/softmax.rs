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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_sum_to_one_at_any_scale() {
        for scale in [0.0, 1.0, 1e3, 1e300] {
            let p = softmax(&[scale, -scale, 0.5 * scale]);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!(p[0] >= p[2] && p[2] >= p[1]);
        }
        assert!((softmax(&[2f64.ln(), 0.0])[0] - 2.0 / 3.0).abs() < 1e-15);
    }

    #[test]
    fn an_ensemble_is_the_mean_of_its_members() {
        let members = [vec![0.0, 0.0], vec![3f64.ln(), 0.0]];
        let p = ensemble_probabilities(&members);
        assert!((p[0] - 0.625).abs() < 1e-12 && (p[1] - 0.375).abs() < 1e-12);
        assert_eq!(ensemble_probabilities(&members[1..]), softmax(&members[1]));
        assert!(ensemble_probabilities(&[]).is_empty());
    }

    #[test]
    fn the_top_class_is_the_first_largest() {
        assert_eq!(top_class(&[0.0, 3.0, -1.0, 3.0]), Some(1));
        assert_eq!(top_class(&[f64::NEG_INFINITY, 0.0]), Some(1));
        assert_eq!(top_class(&[0.0, f64::NAN]), None);
        assert_eq!(top_class(&[]), None);
    }
}
