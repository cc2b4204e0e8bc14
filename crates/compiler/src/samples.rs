//! The images that precision is measured on.

use umbra_model::{Graph, stand_ins};

/// Images at most, and as many of a network's own at least, where it brings them.
const MOST: u64 = 64;
const MOST_OWN: usize = 16;
/// Multiply-accumulates that they may take in the clear, some seconds.
const WORK: u64 = 4_000_000_000;
/// Images at least. Of a single one, a pooled value would be its own mean, and weights that read it would seem to need
/// no precision.
const FEWEST: usize = 4;

/// Images of a network: its own, or drawn ones.
#[derive(Clone, Debug)]
pub(crate) struct Samples {
    /// Normalised, `[C, H, W]` each.
    pub images: Vec<Vec<f32>>,
    /// How many of them, at the front, are the network's own.
    own: usize,
}

/// Part of the means of drawn images that plans count on. Those that a network will see may be darker or brighter on
/// average; weights get bits for it.
const COUNTED: f64 = 0.25;
/// Samples that gains are measured on at most, of a network and of drawn images, which differ more.
const MEASURED: [u64; 2] = [4, 16];
/// Multiply-accumulates that measuring gains may take, about a second.
const MEASURED_WORK: u64 = 500_000_000;

impl Samples {
    /// Those of the first network that brings some; they all take the same images.
    pub(crate) fn of(graphs: &[&Graph]) -> Self {
        let graph = graphs.iter().find(|graph| !graph.description().samples.is_empty()).unwrap_or(&graphs[0]);
        let input = graph.input();
        let affordable = (WORK / graph.multiply_accumulates().max(1)).clamp(FEWEST as u64, MOST) as usize;
        let own = &graph.description().samples;
        let own = &own[..own.len().min(affordable.max(MOST_OWN))];
        let drawn = if own.is_empty() { affordable } else { FEWEST.saturating_sub(own.len()) };
        let bytes = own.iter().cloned().chain(stand_ins(input, drawn, 0));
        // Graphs have samples of the right size only.
        Self { images: bytes.filter_map(|bytes| input.normalise(&bytes).ok()).collect(), own: own.len() }
    }

    /// Whether all are drawn: then they may be unlike what the network will see.
    pub(crate) fn are_drawn(&self) -> bool {
        self.own == 0
    }

    /// Part of their means that images have for sure.
    pub(crate) fn counted(&self) -> f64 {
        if self.are_drawn() { COUNTED } else { 1.0 }
    }

    /// How many of them, from the first, gains of a network are measured on: a backward pass each.
    pub(crate) fn measured(&self, graph: &Graph) -> usize {
        let most = MEASURED[usize::from(self.are_drawn())];
        let affordable = (MEASURED_WORK / graph.multiply_accumulates().max(1)).clamp(1, most) as usize;
        affordable.min(self.images.len())
    }

    /// What they are, in words.
    pub(crate) fn describe(&self) -> String {
        let counted = |count: usize, one: &str, many: &str| format!("{count} {}", if count == 1 { one } else { many });
        let own = counted(self.own, "sample of the network", "samples of the network");
        let drawn = counted(self.drawn(), "drawn image", "drawn images");
        match (self.own, self.drawn()) {
            (_, 0) => own,
            (0, _) => drawn,
            _ => format!("{own} and {drawn}"),
        }
    }

    /// What is to be said where there are too few.
    pub(crate) fn warning(&self) -> Option<String> {
        (self.drawn() > 0).then(|| {
            let few = if self.are_drawn() { "no samples" } else { "too few samples" };
            format!(
                "the network brings {few}: precision was measured on {}; with \"samples\" of its training data in the \
                 manifest, errors are smaller and their prediction is surer",
                self.describe()
            )
        })
    }

    fn drawn(&self) -> usize {
        self.images.len() - self.own
    }
}
