//! What is measured: the network in its packings, clustered, and in ensembles.

use std::path::{Path, PathBuf};

use umbra::model::{Graph, Padding};

use crate::arguments::BenchPaper;

/// A network or an ensemble, as given or clustered, and what is measured of it.
pub struct Variant {
    pub name: String,
    /// What its jobs are called.
    pub key: String,
    /// The network, or all members of an ensemble.
    pub networks: Vec<PathBuf>,
    /// Arguments of `cluster` that make the networks.
    pub clustered: Option<Vec<String>>,
    /// Codewords of a slice, and how they are assigned.
    pub slice: Option<(usize, &'static str)>,
    /// Options of `compile`, where time is measured.
    pub packing: Option<&'static [&'static str]>,
    /// How images are classified.
    pub modes: &'static [&'static str],
}

/// Values of `--assign` that clusters are compared with: the paper's, and ours where there are images for calibration.
pub const ASSIGNMENTS: [&str; 2] = ["nearest", "compensated"];

/// The packings that the network can have, the ensembles that there are members for, and both with clustered weights.
pub fn variants(arguments: &BenchPaper, graph: &Graph) -> Vec<Variant> {
    const MULTIPLEXED: &[&str] = &["--packing", "multiplexed"];
    const CHANNEL: &[&str] = &["--packing", "channel"];
    const ENCRYPTED: &[&str] = &["simulated", "encrypted"];
    let networks: Vec<PathBuf> = std::iter::once(&arguments.network).chain(&arguments.member).cloned().collect();
    let plain = |name: String, key: String, members: usize, packing, modes| Variant {
        name,
        key,
        networks: networks[..members].to_vec(),
        clustered: None,
        slice: None,
        packing: Some(packing),
        modes,
    };
    let mut all = Vec::new();
    let circular = matches!(graph.padding(), Padding::Circular { .. });
    if circular {
        all.push(plain("multiplexed packing, 1 image".into(), "multiplexed".into(), 1, MULTIPLEXED, ENCRYPTED));
    }
    // A batch of one differs from a full one in nothing that accuracy depends on.
    let one = &["--packing", "channel", "--batch", "1"];
    all.push(plain("channel packing, 1 image".into(), "channel-1".into(), 1, one, &[]));
    all.push(plain("channel packing, full batch".into(), "channel".into(), 1, CHANNEL, ENCRYPTED));
    let ensembles: Vec<usize> =
        std::iter::successors(Some(2), |m| Some(2 * m)).take_while(|m| *m <= networks.len()).collect();
    for members in &ensembles {
        for (packing, key, options) in
            [("channel", "ensemble", CHANNEL), ("multiplexed", "multiplexed-ensemble", MULTIPLEXED)]
        {
            if packing == "channel" || circular {
                let name = format!("{packing} packing, ensemble of {members}");
                all.push(plain(name, format!("{key}-{members}"), *members, options, ENCRYPTED));
            }
        }
    }

    let show = |path: &Path| path.display().to_string();
    // A file holds images for testing.
    let training = if arguments.data.is_dir() { words(&["--data", &show(&arguments.data)]) } else { Vec::new() };
    let sampled = !graph.description().samples.is_empty() || !training.is_empty();
    let folder = |key: &str| arguments.out.join("networks").join(key);
    let best = if sampled { "compensated" } else { "nearest" };
    for k in &arguments.k {
        for assign in ASSIGNMENTS.into_iter().filter(|assign| sampled || *assign == "nearest") {
            let key = format!("slice-{k}-{assign}");
            let (folder, network) = (folder(&key), show(&arguments.network));
            let mut cluster =
                words(&["cluster", &network, "--mode", "slice", "--k", &k.to_string(), "--assign", assign]);
            cluster.extend(["--out".into(), show(&folder)]);
            cluster.extend(training.iter().filter(|_| assign == "compensated").cloned());
            all.push(Variant {
                name: format!("clustered slice by slice, K = {k}, {assign}"),
                key,
                networks: vec![folder],
                clustered: Some(cluster),
                slice: Some((k.get(), assign)),
                // The time is that of the number of codewords.
                packing: (assign == best).then_some(CHANNEL),
                modes: &["plain"],
            });
        }
    }
    // The largest ensemble alone: what sharing an index map costs grows with its members.
    let Some(&members) = ensembles.last() else { return all };
    for k in &arguments.ensemble_k {
        let key = format!("ensemble-{members}-clustered-{k}");
        let folder = folder(&key);
        let mut cluster = words(&["cluster", &show(&arguments.network), "--mode", "ensemble", "--k", &k.to_string()]);
        // Another start of k-means changes little, and members may be large.
        cluster.extend(words(&["--keep-biases", "--restarts", "1", "--out", &show(&folder)]));
        cluster.extend(networks[1..members].iter().flat_map(|member| ["--member".into(), show(member)]));
        cluster.extend(training.clone());
        all.push(Variant {
            name: format!("ensemble of {members}, clustered together, K = {k}"),
            key,
            networks: (1..=members).map(|member| folder.join(format!("member-{member}"))).collect(),
            clustered: Some(cluster),
            slice: None,
            packing: Some(CHANNEL),
            modes: &["plain"],
        });
    }
    all
}

/// Owned.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
