//! `umbra eval`.

use umbra::data::LabelledImages;
use umbra::evaluate::{EvaluationReport, Mode, evaluate};
use umbra::{Network, Session};

use crate::arguments::{self, Eval};
use crate::outcome::Outcome;
use crate::progress::Bar;
use crate::{stop, text};

/// Classifies a data set.
pub fn run(arguments: &Eval) -> anyhow::Result<Outcome> {
    let network = Network::open(&arguments.network.network)?;
    let program = match arguments.mode {
        arguments::Mode::Plain => None,
        _ => Some(network.program(&Default::default(), &[])?),
    };
    let graphs = network.graphs(&arguments.reference)?;
    let images = LabelledImages::open(&arguments.data, &graphs[0], arguments.limit.map(usize::from))?;
    stop::listen();
    let mut bar = Bar::default();
    let report = match (arguments.mode, &program) {
        (arguments::Mode::Simulated, Some(program)) => {
            evaluate(Mode::Simulated(program), &graphs, &images, &mut |progress| bar.show(progress))?
        }
        (arguments::Mode::Encrypted, Some(program)) => {
            let folder = stop::scratch("eval")?;
            let session = Session::in_folder(program, folder.path(), &mut |progress| bar.show(progress))?;
            evaluate(Mode::Encrypted(&session), &graphs, &images, &mut |progress| bar.show(progress))?
        }
        _ => evaluate(Mode::Plain, &graphs, &images, &mut |progress| bar.show(progress))?,
    };
    drop(bar);
    if arguments.json {
        text::print_json(&report)?;
    } else {
        text::print(&describe(&report))?;
    }
    Ok(match report.agree_with_plain {
        Some(agree) if agree < report.images && arguments.mode == arguments::Mode::Encrypted => Outcome::Disagreement,
        _ => Outcome::Success,
    })
}

fn describe(report: &EvaluationReport) -> String {
    let percent = |accuracy: f64| format!("{:.2} %", 100.0 * accuracy);
    let mut rows = vec![vec!["images".into(), report.images.to_string()]];
    let mut row = |name: &str, value: Option<String>| rows.extend(value.map(|value| vec![name.to_string(), value]));
    row("accuracy, plain", Some(percent(report.accuracy_plain)));
    row("accuracy, simulated", report.accuracy_simulated.map(percent));
    row("accuracy, encrypted", report.accuracy_encrypted.map(percent));
    row("same class as plain", report.agree_with_plain.map(|n| n.to_string()));
    row("unlike the network's samples", report.unlike.map(|images| images.to_string()));
    row("refused results", (report.refused > 0).then(|| report.refused.to_string()));
    row("worst error of a logit", report.worst_logit_error.map(|e| format!("{e:.4}")));
    row("rms error of a logit", report.rms_logit_error.map(|e| format!("{e:.4}")));
    row("time an image", Some(text::seconds(report.seconds_per_image)));
    row("of it at the server", report.server_seconds_per_image.map(text::seconds));
    text::table(&rows)
}
