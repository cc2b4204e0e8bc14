//! Error statistics of decrypted values against expected ones.

use serde::Serialize;

/// How far some values are from what they should be. Bits are `-log2` of the error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PrecisionStats {
    /// Number of values compared.
    pub count: usize,
    /// Largest absolute error.
    pub max_error: f64,
    /// Mean absolute error.
    pub mean_error: f64,
    /// Root of the mean squared error.
    pub rms_error: f64,
    /// `-log2` of the largest error (infinite for none).
    pub min_bits: f64,
    /// `-log2` of the mean error.
    pub mean_bits: f64,
}

impl PrecisionStats {
    /// Compares pairs; a missing partner is not compared.
    pub fn compare(got: &[f64], expected: &[f64]) -> Self {
        let errors: Vec<f64> = got.iter().zip(expected).map(|(g, e)| (g - e).abs()).collect();
        let count = errors.len();
        let max_error = errors.iter().copied().fold(0.0, f64::max);
        let mean_error = errors.iter().sum::<f64>() / count.max(1) as f64;
        let rms_error = (errors.iter().map(|e| e * e).sum::<f64>() / count.max(1) as f64).sqrt();
        Self { count, max_error, mean_error, rms_error, min_bits: -max_error.log2(), mean_bits: -mean_error.log2() }
    }
}

impl std::fmt::Display for PrecisionStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "        {:>12} {:>12} {:>12}", "max", "mean", "rms")?;
        writeln!(f, "error   {:>12.3e} {:>12.3e} {:>12.3e}", self.max_error, self.mean_error, self.rms_error)?;
        write!(f, "bits    {:>12.2} {:>12.2} {:>12.2}", self.min_bits, self.mean_bits, -self.rms_error.log2())
    }
}
