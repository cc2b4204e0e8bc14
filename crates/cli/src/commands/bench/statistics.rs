//! Medians.

/// Median of some numbers, and the smallest and the largest of them.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Statistics {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Statistics {
    /// Of at least one number.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |i: usize| sorted.get(i).copied().unwrap_or(f64::NAN);
        let (low, high) = (sorted.len().saturating_sub(1) / 2, sorted.len() / 2);
        Self { median: (at(low) + at(high)) / 2.0, min: at(0), max: at(sorted.len().saturating_sub(1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(Statistics::of([3.0, 1.0, 2.0]).median, 2.0);
        let four = Statistics::of([4.0, 1.0, 2.0, 3.0]);
        assert_eq!((four.median, four.min, four.max), (2.5, 1.0, 4.0));
    }
}
