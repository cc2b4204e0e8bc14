//! The CPU back end against the suite.

use umbra_ring::kernels::Kernels;
use umbra_runtime::conformance::{CpuSubject, agree, run};

#[test]
fn the_cpu_conforms_with_every_set_of_kernels() {
    for kernels in Kernels::available() {
        println!("{}", kernels.name);
        run(&CpuSubject(kernels)).assert_passed();
    }
}

#[test]
fn all_sets_of_kernels_give_the_same_bits() {
    for kernels in Kernels::available() {
        println!("{}", kernels.name);
        agree(&CpuSubject(Kernels::scalar()), &CpuSubject(kernels)).assert_passed();
    }
}
