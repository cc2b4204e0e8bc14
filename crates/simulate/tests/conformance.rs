//! The simulator against the suite that all back ends must pass.

use std::error::Error;

use umbra_ckks::{CkksError, KeyId, Level, Parameters, ParametersLiteral};
use umbra_program::Program;
use umbra_ring::kernels::Kernels;
use umbra_runtime::conformance::{Subject, run};
use umbra_simulate::{NoiseSeed, Simulation, Slots};

#[test]
fn the_simulator_conforms() {
    run(&Simulated).assert_passed();
}

struct Simulated;

impl Subject for Simulated {
    type Host = Slots;
    type Client = NoiseSeed;
    type Backend<'p> = Simulation<'p>;

    fn parameters(&self, literal: ParametersLiteral) -> Result<Parameters, CkksError> {
        Parameters::insecure_for_tests(literal, Kernels::best())
    }

    fn backend<'p>(
        &self,
        parameters: &Parameters,
        program: &'p Program,
    ) -> Result<Simulation<'p>, Box<dyn Error + Send + Sync>> {
        Ok(Simulation::new(program, parameters)?)
    }

    fn client(&self, _: &Parameters, _: &[KeyId]) -> Result<NoiseSeed, CkksError> {
        Ok(NoiseSeed(rand::random()))
    }

    fn keys<'k, 'p>(&self, client: &'k NoiseSeed) -> &'k NoiseSeed
    where
        Self::Backend<'p>: 'k,
    {
        client
    }

    /// Noise is added when the run begins.
    fn encrypt(&self, _: &NoiseSeed, slots: &[f64], level: Level, scale: f64) -> Result<Slots, CkksError> {
        Ok(Slots { values: slots.to_vec(), level, scale })
    }

    fn decrypt(&self, _: &NoiseSeed, ciphertext: &Slots) -> Result<Vec<f64>, CkksError> {
        Ok(ciphertext.values.clone())
    }

    fn has_keys(&self) -> bool {
        false
    }
}
