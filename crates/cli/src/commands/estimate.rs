//! `umbra estimate`.

use umbra::Network;
use umbra::estimate::{ClientCosts, Costs};

use super::report::{client_rows, describe_costs};
use crate::arguments::Estimate;
use crate::outcome::Outcome;
use crate::text;

/// Tells what an inference will take: of a client file, what it will take the client.
pub fn run(arguments: &Estimate) -> anyhow::Result<Outcome> {
    let network = Network::open(&arguments.network)?;
    if let Network::Client(file) = &network {
        let (options, members) = arguments.compilation.options()?;
        network.check_options(&options, &members)?;
        let costs = ClientCosts::of(file)?;
        if arguments.json {
            text::print_json(&costs)?;
        } else {
            text::print(&text::table(&client_rows(&costs)))?;
        }
        return Ok(Outcome::Success);
    }
    let costs = Costs::of(&arguments.compilation.program(&network)?)?;
    if arguments.json {
        text::print_json(&costs)?;
    } else {
        text::print(&describe_costs(&costs))?;
    }
    Ok(Outcome::Success)
}
