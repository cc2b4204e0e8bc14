//! How long registers are needed.

use umbra_program::Register;

/// For each step the registers that hold nothing of use after it, of those that it reads or writes.
///
/// A step is what it reads and where it writes. All registers must be below `registers`.
pub(crate) fn released(registers: usize, steps: &[(Vec<Register>, Register)], output: Register) -> Vec<Vec<Register>> {
    let mut live = vec![false; registers];
    live[output.index()] = true;
    let mut released: Vec<Vec<Register>> = (steps.iter().rev())
        .map(|(read, written)| {
            let mut touched = read.clone();
            touched.push(*written);
            touched.sort_unstable();
            touched.dedup();
            touched.retain(|register| !live[register.index()]);
            live[written.index()] = false;
            read.iter().for_each(|register| live[register.index()] = true);
            touched
        })
        .collect();
    released.reverse();
    released
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(list: &[(&[u16], u16)]) -> Vec<(Vec<Register>, Register)> {
        let step = |(read, written): &(&[u16], u16)| (read.iter().map(|&r| Register(r)).collect(), Register(*written));
        list.iter().map(step).collect()
    }

    #[test]
    fn registers_are_released_after_their_last_use() {
        let list = steps(&[(&[0], 1), (&[0, 1], 2), (&[2], 2), (&[2], 0)]);
        let found = released(3, &list, Register(0));
        assert_eq!(found, [vec![], vec![Register(0), Register(1)], vec![], vec![Register(2)]]);
    }

    /// What is between a last use and the next writing is of no use.
    #[test]
    fn a_register_that_is_written_again_is_released_before() {
        let list = steps(&[(&[0], 1), (&[1], 2), (&[2], 0), (&[0, 0], 1), (&[1], 2)]);
        let found = released(3, &list, Register(2));
        let of = |list: &[u16]| list.iter().map(|&r| Register(r)).collect::<Vec<_>>();
        assert_eq!(found, [of(&[0]), of(&[1]), of(&[2]), of(&[0]), of(&[1])]);
    }

    #[test]
    fn a_result_that_nobody_reads_is_released_at_once() {
        let list = steps(&[(&[0], 1), (&[0], 0)]);
        assert_eq!(released(2, &list, Register(0)), [vec![Register(1)], vec![]]);
    }
}
