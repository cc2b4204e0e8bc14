//! Whether a step adds the inputs that share a weight before it multiplies them: see [`umbra_program::sharing`].

use umbra_program::Linear;
use umbra_program::sharing::Sharing;

use crate::AddFirst;
use crate::cost::{CostModel, SwitchSize, Work};

/// Decides whether a step adds first, and puts the work of its products, of a key switch's size, in place of that in `work`.
pub(crate) fn share(
    linear: &mut Linear,
    choice: AddFirst,
    scales: &[f64],
    (size, work): (&SwitchSize, Work),
    model: &CostModel,
) -> Work {
    if !linear.has_integers() {
        return work;
    }
    let sharing = Sharing::of(linear, scales);
    let seconds = |add_first| products(&sharing, add_first, size).seconds(model, size.log_n);
    linear.add_first = match choice {
        AddFirst::Always => true,
        AddFirst::Never => false,
        AddFirst::Auto => seconds(true) < seconds(false),
    };
    let ordinary = Work::default().plus(size.diagonal(), linear.diagonals.len() as f64);
    work.plus(ordinary, -1.0).plus(products(&sharing, linear.add_first, size), 1.0)
}

/// The work of the products, on whole ciphertexts.
fn products(sharing: &Sharing, add_first: bool, size: &SwitchSize) -> Work {
    let limbs = 2.0 * (size.limbs + size.special) as f64;
    if add_first {
        let (shared, integers) = (limbs * sharing.weights as f64, limbs * sharing.products as f64);
        Work { shared, integers, ..Work::default() }
    } else {
        Work { integers: limbs * sharing.weights as f64, ..Work::default() }
    }
}
