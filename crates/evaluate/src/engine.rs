//! What operations prepare, kept for the next of their kind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::division::BasisDivision;
use crate::keyswitch::SwitchPlan;
use crate::tables::Tables;
use umbra_ckks::{CkksError, Gadget, Level, Parameters};
use umbra_ring::Automorphism;

/// Parameters, and the tables that operations with them need: decompositions of levels, divisions from one basis to
/// another, permutations of rotations. Each is made when it is first needed, for all who share the engine. It belongs
/// to no key set. Cloning is cheap.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    parameters: Parameters,
    switch_plans: Mutex<HashMap<(Level, Gadget), Arc<SwitchPlan>>>,
    divisions: Mutex<HashMap<DivisionKey, Arc<BasisDivision>>>,
    automorphisms: Mutex<HashMap<u32, Arc<Automorphism>>>,
}

/// Source primes, target primes, exactness of a division.
type DivisionKey = (Vec<u16>, Vec<u16>, bool);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Engine({:?})", self.parameters())
    }
}

impl Engine {
    /// An engine for these parameters, with no tables yet but theirs.
    #[must_use]
    pub fn new(parameters: &Parameters) -> Self {
        Self(Arc::new(Inner {
            parameters: parameters.clone(),
            switch_plans: Mutex::default(),
            divisions: Mutex::default(),
            automorphisms: Mutex::default(),
        }))
    }

    /// The parameters.
    #[inline]
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.0.parameters
    }

    /// What conversions and transforms read.
    #[inline]
    pub(crate) fn tables(&self) -> Tables<'_> {
        Tables::of(self.parameters())
    }

    /// The decomposition plan of a gadget at a level.
    ///
    /// # Errors
    /// [`CkksError::NoSuchLevel`], [`CkksError::Gadget`].
    pub(crate) fn switch_plan(
        &self,
        op: &'static str,
        level: Level,
        gadget: Gadget,
    ) -> Result<Arc<SwitchPlan>, CkksError> {
        let mut plans = self.0.switch_plans.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(plan) = plans.get(&(level, gadget)) {
            return Ok(plan.clone());
        }
        let literal = self.parameters().gadget_for(op, level, gadget)?;
        let basis = self.parameters().level_for(op, level)?;
        let extended: Vec<u16> = basis.iter().chain(&literal.special).copied().collect();
        let mod_down = self.division(&extended, basis, false);
        let plan = Arc::new(SwitchPlan::new(&self.tables(), literal, basis, mod_down));
        plans.insert((level, gadget), plan.clone());
        Ok(plan)
    }

    /// The division from one basis to another, see [`BasisDivision`].
    pub(crate) fn division(&self, source: &[u16], target: &[u16], exact: bool) -> Arc<BasisDivision> {
        let mut divisions = self.0.divisions.lock().unwrap_or_else(PoisonError::into_inner);
        divisions
            .entry((source.to_vec(), target.to_vec(), exact))
            .or_insert_with(|| Arc::new(BasisDivision::new(&self.tables(), source, target, exact)))
            .clone()
    }

    /// The permutation of a Galois element.
    ///
    /// # Errors
    /// [`CkksError::Ring`] for an even or too large element.
    pub(crate) fn automorphism(&self, element: u32) -> Result<Arc<Automorphism>, CkksError> {
        let mut maps = self.0.automorphisms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(map) = maps.get(&element) {
            return Ok(map.clone());
        }
        let map = Arc::new(Automorphism::new(self.parameters().log_n(), element)?);
        maps.insert(element, map.clone());
        Ok(map)
    }
}

#[cfg(test)]
mod tests {
    use umbra_ckks::{GadgetLiteral, ParametersLiteral};
    use umbra_ring::{kernels::Kernels, primes};

    use super::*;

    #[test]
    fn tables_are_made_once_and_shared_by_clones() {
        let literal = ParametersLiteral {
            log_n: 5,
            primes: primes::nearest(5, 30.0, 3, &[]).unwrap(),
            levels: vec![vec![0], vec![0, 1]],
            gadgets: vec![GadgetLiteral { digits: vec![vec![0, 1]], special: vec![2] }],
        };
        let engine = Engine::new(&Parameters::insecure_for_tests(literal, Kernels::best()).unwrap());
        let clone = engine.clone();
        let plan = |engine: &Engine| engine.switch_plan("plan", Level(1), Gadget(0)).unwrap();
        assert!(Arc::ptr_eq(&plan(&engine), &plan(&clone)));
        // That of the plan, which is off by a little, and an exact one.
        let division = |engine: &Engine, exact| engine.division(&[0, 1, 2], &[0, 1], exact);
        assert!(Arc::ptr_eq(&division(&engine, false), &plan(&clone).mod_down));
        assert!(!Arc::ptr_eq(&division(&engine, true), &division(&clone, false)));
        let map = |engine: &Engine| engine.automorphism(5).unwrap();
        assert!(Arc::ptr_eq(&map(&engine), &map(&clone)));
        assert!(matches!(engine.automorphism(2), Err(CkksError::Ring(_))));
        assert!(matches!(engine.switch_plan("plan", Level(1), Gadget(1)), Err(CkksError::Gadget { .. })));
        assert!(matches!(engine.switch_plan("plan", Level(2), Gadget(0)), Err(CkksError::NoSuchLevel { .. })));
    }
}
