//! Whether a step adds the inputs that share a weight before it multiplies them: see [`umbra_program::sharing`].

use umbra_program::Linear;
use umbra_program::sharing::Sharing;

use crate::AddFirst;
use crate::cost::{CostModel, SwitchSize, Work};

/// Decides whether a step adds first, and puts the work of its products, of a key switch's size, in place of that in
/// `work`.
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

#[cfg(test)]
mod tests {
    use umbra_ckks::{Bsgs, Diagonal};

    use super::*;

    /// One output of these weights of period 1, one an input.
    fn linear(weights: &[f32]) -> Linear {
        let diagonal = |(input, value): (u32, &f32)| Diagonal {
            output: 0,
            input,
            outer: 0,
            inner: 0,
            baby: 0,
            imaginary: false,
            mask: None,
            values: vec![*value],
        };
        Linear {
            inputs: vec![],
            plan: Bsgs { babies: vec![0], inner: vec![0], outer: vec![0], imaginary_steps: None },
            diagonals: (0..).zip(weights).map(diagonal).collect(),
            period: 1,
            masks: vec![],
            bias: vec![vec![0.0]],
            gadget: umbra_ckks::Gadget(0),
            add_first: false,
        }
    }

    #[test]
    fn adding_first_takes_the_place_of_products() {
        let size = SwitchSize { log_n: 12, limbs: 3, special: 1, digits: 1 };
        let model = CostModel::default();
        let scales = [64.0; 16];
        let decide = |linear: &mut Linear, choice| {
            let count = linear.diagonals.len() as f64;
            let work = Work { transforms: 5.0, ..Work::default().plus(size.diagonal(), count) };
            (share(linear, choice, &scales, (&size, work), &model), linear.add_first)
        };
        // Sixteen inputs with one weight: products of groups of additions, on eight limbs, in place of one each.
        let mut equal = linear(&[0.5; 16]);
        let products = Sharing::of(&equal, &scales).products as f64;
        let (work, add_first) = decide(&mut equal, AddFirst::Auto);
        assert!(add_first && products < 16.0);
        let shared = Work { transforms: 5.0, integers: 8.0 * products, shared: 8.0 * 16.0, ..Work::default() };
        assert_eq!(work, shared);
        let (work, add_first) = decide(&mut equal, AddFirst::Never);
        assert!(!add_first);
        assert_eq!(work, Work { transforms: 5.0, integers: 8.0 * 16.0, ..Work::default() });
        // Different weights have nothing to add: additions come on top.
        let mut different = linear(&(1..=16).map(|i| i as f32).collect::<Vec<_>>());
        assert!(!decide(&mut different, AddFirst::Auto).1);
        assert!(decide(&mut different, AddFirst::Always).1);
        // Weights that are not the same in all slots are no integers.
        let mut periodic = Linear { period: 2, ..linear(&[0.5; 16]) };
        let (work, add_first) = decide(&mut periodic, AddFirst::Always);
        assert_eq!((work.products, add_first), (16.0 * size.diagonal().products, false));
    }
}
