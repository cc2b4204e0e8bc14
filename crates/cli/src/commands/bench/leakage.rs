//! `umbra bench leakage`: what results give away beyond their logits.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use umbra::data::LabelledImages;
use umbra::leakage::leakage;
use umbra::model::zoo::random_image;
use umbra::{Network, Session};

use crate::arguments::BenchLeakage;
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{stop, text};

/// Evaluates images and predicts features of the last layer from everything but the logits.
pub fn run(arguments: &BenchLeakage) -> anyhow::Result<Outcome> {
    let network = Network::open(&arguments.network)?;
    let program = arguments.compilation.program(&network)?;
    let graph = network.graph(arguments.reference.as_deref())?;
    let count = arguments.images.get();
    let images = match &arguments.data {
        Some(data) => LabelledImages::open(data, &graph, Some(count))?.values,
        None => {
            let mut rng = ChaCha8Rng::seed_from_u64(1);
            (0..count).map(|_| random_image(graph.input(), &mut rng)).collect()
        }
    };
    let folder = stop::scratch("bench")?;
    let mut bar = Bar::default();
    let session = Session::in_folder(&program, folder.path(), &mut |progress| bar.show(progress))?;
    let report = leakage(&session, &graph, &images, &mut |progress| bar.show(progress))?;
    drop(bar);
    if arguments.json {
        text::print_json(&report)?;
        return Ok(Outcome::Success);
    }
    let row = |name: &str, value: String| vec![name.to_string(), value];
    let percent = |part: f64| format!("{:.2} %", 100.0 * part);
    let rows = [
        row("images", report.images.to_string()),
        row("features of the last layer", report.features.to_string()),
        row("slots without logit", report.slots.to_string()),
        row("what they hold (root mean square)", format!("{:.3e}", report.rms)),
        row("explained by their means over periods", percent(report.explained_by_means)),
        row("explained by noise around means", percent(report.explained_by_noise)),
        row("explained by imaginary parts", percent(report.explained_by_imaginary)),
    ];
    text::print(&format!(
        "Variance of features that is explained, of images that the regression was not fitted to:\n{}",
        text::table(&rows)
    ))?;
    Ok(Outcome::Success)
}
