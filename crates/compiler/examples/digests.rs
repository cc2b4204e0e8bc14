//! Digests of the programs of a handful of networks, to compare two builds of the compiler on one machine: a change
//! that is to leave programs alone leaves every line alone.
//!
//! A line has BLAKE3 of the program without its report, BLAKE3 of the report, and the case. Rounding may differ between
//! machines, so that digests are not kept anywhere. `digests NAME` runs only the cases whose names contain NAME.

use std::path::PathBuf;

use umbra_compiler::{AddFirst, Average, CompileOptions, PackingChoice, Pass, compile_ensemble};
use umbra_model::Graph;
use umbra_model::zoo::{Activation, NormPlacement, ResNet, Shortcut, Vgg};
use umbra_program::{Program, Report};

fn main() {
    let only = std::env::args().nth(1).unwrap_or_default();
    for (name, graphs, options) in cases().into_iter().filter(|(name, ..)| name.contains(&only)) {
        let graphs: Vec<Graph> = graphs();
        match compile_ensemble(&graphs.iter().collect::<Vec<_>>(), &options) {
            Ok(program) => {
                let report = digest(&program.report);
                println!("{} {report} {name}", digest(&Program { report: Report::default(), ..program }));
            }
            Err(error) => println!("{} {name}: {error}", digest(&error)),
        }
    }
}

fn digest(value: &impl std::fmt::Debug) -> String {
    blake3::hash(format!("{value:?}").as_bytes()).to_hex()[..16].into()
}

type Case = (String, Box<dyn Fn() -> Vec<Graph>>, CompileOptions);

fn zoo(names: &[&str]) -> Vec<Graph> {
    let zoo = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../zoo");
    names.iter().map(|name| Graph::load(zoo.join(name)).expect("a network of the zoo")).collect()
}

fn built(networks: &[ResNet]) -> Vec<Graph> {
    networks.iter().map(|network| network.build().expect("a network")).collect()
}

fn tiny() -> ResNet {
    ResNet { widths: vec![4, 8], blocks: 1, height: 8, width: 8, classes: 5, ..ResNet::default() }
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    let mut case = |name: &str, graphs: Box<dyn Fn() -> Vec<Graph>>, options: &CompileOptions| {
        cases.push((name.into(), graphs, options.clone()));
    };
    let default = CompileOptions::default();
    let loose = CompileOptions { logit_error: Some(0.05), ..default.clone() };
    let channel = CompileOptions { packing: PackingChoice::Channel, ..loose.clone() };
    let pair = CompileOptions { batch: Some(2), ..channel.clone() };

    // Small ones.
    let various = [
        tiny(),
        ResNet { activation: Activation::PerChannel, norm: NormPlacement::BeforeSum, bias: true, seed: 2, ..tiny() },
        ResNet { shortcut: Shortcut::ProjectionEverywhere, seed: 3, ..tiny() },
        ResNet { height: 7, width: 12, channels: 1, classes: 20, seed: 4, ..tiny() },
        ResNet { widths: vec![3, 7, 9], height: 16, width: 8, seed: 5, ..tiny() },
        ResNet { height: 2, width: 2, seed: 6, ..tiny() },
    ];
    for (i, network) in various.into_iter().enumerate() {
        let graphs = |circular| {
            let network = ResNet { circular, ..network.clone() };
            Box::new(move || built(std::slice::from_ref(&network)))
        };
        case(&format!("small {i} multiplexed"), graphs(true), &loose);
        case(&format!("small {i} channel"), graphs(true), &pair);
        case(&format!("small {i} padded"), graphs(false), &pair);
    }
    let vgg = |circular: bool| {
        let common = ResNet { blocks: 0, circular, ..tiny() };
        move || vec![Vgg { stages: vec![vec![3, 4], vec![5]], common: common.clone() }.build().expect("a network")]
    };
    case("small vgg multiplexed", Box::new(vgg(true)), &loose);
    case("small vgg channel", Box::new(vgg(true)), &pair);
    case("small vgg padded", Box::new(vgg(false)), &pair);
    case(
        "small auto",
        Box::new(|| built(&[tiny()])),
        &CompileOptions { packing: PackingChoice::Auto, ..loose.clone() },
    );
    let shared = CompileOptions { add_first: AddFirst::Always, ..channel.clone() };
    case("small add first", Box::new(|| built(&[tiny()])), &shared);

    // Without each pass.
    for pass in Pass::ALL {
        for (layout, options, circular) in
            [("multiplexed", &loose, true), ("channel", &pair, true), ("padded", &pair, false)]
        {
            let network = ResNet { activation: Activation::PerChannel, bias: true, seed: 8, circular, ..tiny() };
            let options = CompileOptions { without: [pass].into(), ..options.clone() };
            let number = Pass::ALL.iter().position(|p| *p == pass).unwrap_or(0);
            case(
                &format!("without {number} {layout}"),
                Box::new(move || built(std::slice::from_ref(&network))),
                &options,
            );
        }
    }

    // Ensembles, and what is refused.
    for (layout, options, circular) in
        [("multiplexed", &loose, true), ("channel", &pair, true), ("padded", &pair, false)]
    {
        for average in [Average::Client, Average::Server] {
            let network =
                move |seed| ResNet { activation: Activation::PerChannel, bias: true, circular, seed, ..tiny() };
            let options = CompileOptions { average, ..options.clone() };
            let graphs = move || built(&[network(20), network(21), network(22)]);
            case(&format!("ensemble {layout} {average:?}"), Box::new(graphs), &options);
        }
    }
    case("refused padded", Box::new(|| built(&[ResNet { circular: false, ..tiny() }])), &loose);
    let wide = || built(&[ResNet { widths: vec![600], height: 2, width: 2, ..tiny() }]);
    case("refused wide", Box::new(wide), &channel);
    case("refused batch", Box::new(|| built(&[tiny()])), &CompileOptions { batch: Some(513), ..channel.clone() });
    let small = || built(&vec![ResNet { circular: false, height: 2, width: 2, ..tiny() }; 9]);
    case("refused members", Box::new(small), &channel);
    let ring = CompileOptions { log_n: Some(12), ..loose.clone() };
    case("refused ring", Box::new(|| built(&[ResNet { widths: vec![1], height: 64, width: 64, ..tiny() }])), &ring);

    // Those that ship.
    let r20 = "r20-16-cifar10-cyclic";
    let members = [r20, "r20-16-cifar10-cyclic-member2", "r20-16-cifar10-cyclic-member3"];
    let batch = CompileOptions { packing: PackingChoice::Channel, ..default.clone() };
    case("zoo r20 multiplexed", Box::new(move || zoo(&[r20])), &default);
    case("zoo r20 channel", Box::new(move || zoo(&[r20])), &batch);
    case("zoo r20 ensemble", Box::new(move || zoo(&members)), &default);
    let server = CompileOptions { average: Average::Server, ..batch };
    case("zoo r20 ensemble channel", Box::new(move || zoo(&members)), &server);
    case("zoo r20-100 multiplexed", Box::new(|| zoo(&["r20-16-cifar100-cyclic"])), &default);
    case("zoo r32 multiplexed", Box::new(|| zoo(&["r32-16-cifar10-cyclic"])), &default);
    cases
}
