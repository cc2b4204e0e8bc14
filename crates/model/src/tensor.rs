//! Arrays of weights.

use std::sync::Arc;

use crate::GraphError;

/// A dense row-major array of `f32`, all of them finite. Clones share the values.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Arc<[f32]>,
}

impl Tensor {
    /// Checks that `values` fill `shape` and are finite.
    ///
    /// # Errors
    /// [`GraphError::TensorLength`] and [`GraphError::NotFinite`], with `name` in them.
    pub fn new(name: &str, shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Result<Self, GraphError> {
        let shape = shape.into();
        let expected = shape.iter().try_fold(1usize, |product, &d| product.checked_mul(d));
        if expected != Some(values.len()) {
            return Err(GraphError::TensorLength { tensor: name.into(), shape, found: values.len() });
        }
        if let Some(index) = values.iter().position(|v| !v.is_finite()) {
            return Err(GraphError::NotFinite { tensor: name.into(), index, found: f64::from(values[index]) });
        }
        Ok(Self { shape, values: values.into() })
    }

    /// Sizes, slowest index first.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values, last index fastest.
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The shape as `D` sizes, where it has that many.
    pub(crate) fn dims<const D: usize>(&self) -> Option<[usize; D]> {
        self.shape.as_slice().try_into().ok()
    }
}
