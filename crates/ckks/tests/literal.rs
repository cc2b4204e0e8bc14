//! Answers of parameters as they are written, and of what does not exist.

use umbra_ckks::{GadgetLiteral, Level, ParametersLiteral};

fn literal() -> ParametersLiteral {
    ParametersLiteral {
        log_n: 5,
        primes: vec![193, 257, 449, 577, 641],
        levels: vec![vec![0], vec![1, 2], vec![9]],
        gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1], vec![2]], special: vec![4, 9] }],
    }
}

#[test]
fn answers_for_what_exists() {
    let literal = literal();
    assert_eq!(literal.rescale_factor(Level(1), Level(0)), Some(257.0 * 449.0 / 193.0));
    assert_eq!(literal.rescale_factor(Level(1), Level(1)), Some(1.0));
    assert!((literal.log_q(Level(1)) - (257.0f64 * 449.0).log2()).abs() < 1e-12);
    assert!((literal.log_qp() - (193.0f64 * 257.0 * 449.0 * 641.0).log2()).abs() < 1e-12);
    assert!(literal.used_primes().into_iter().eq([0, 1, 2, 4, 9]));
    let gadget = &literal.gadgets[0];
    assert_eq!([&[0][..], &[1, 2], &[3]].map(|primes| gadget.dnum(primes)), [1, 2, 0]);
    assert_eq!([&[0][..], &[1, 2], &[2], &[3]].map(|primes| gadget.serves(primes)), [true, true, false, false]);
}

#[test]
fn indices_that_do_not_exist() {
    let literal = literal();
    assert_eq!(literal.rescale_factor(Level(3), Level(0)), None, "no such level");
    assert_eq!(literal.rescale_factor(Level(2), Level(0)), None, "no such prime");
    assert_eq!((literal.log_q(Level(2)), literal.log_q(Level(7))), (0.0, 0.0));
}
