//! Linear transforms by rotations and periodic weights, as plain data: what encrypted convolutions are made of.
//!
//! `y_o = sum_{i, r} w_{o,i,r} (.) rot_r(x_i)`, every `w` of one period. With `r = outer + inner + baby`,
//!
//! ```text
//! y_o = sum_outer rot_outer( sum_inner rot_inner(
//!           sum_{i, baby} rot_{-(outer + inner)}(w_{o,i,r}) (.) rot_baby(x_i) ) )
//! ```
//!
//! This is baby step, giant step, with two levels of giants that share keys.
//!
//! *Complex packing of giant steps.* Inputs are real, so a complex weight does the work of two real ones: with
//! `v_r + i w_r` in place of `v_r`, the sum above is `V` whose real part is one result and whose imaginary part is
//! another, for the same rotations. The other is that of the rotations that are `s` steps further
//! ([`Bsgs::imaginary_steps`]): `y = Re V + rot_s(Im V)`. So half of the giant steps are left, and half of the
//! products.
//!
//! Modules, each importing from those before it only: `spec` (the data), `matrices` (their shapes), `rounded` (weights
//! as integers).

mod matrices;
mod rounded;
mod spec;

pub use matrices::{Matrices, Row};
pub use rounded::{rounded_weight, weight_integers};
pub use spec::{Bsgs, Diagonal, TransformSpec};
