//! The digest that ties a program to its network.

use umbra_model::{Graph, Normalisation, Operator, Pool};

/// BLAKE3 over everything that determines the logits: padding, normalisation, nodes, weights; and the names of
/// classes.
#[must_use]
pub fn network_digest(graph: &Graph) -> [u8; 32] {
    let mut hasher = Hasher(blake3::Hasher::new_derive_key("umbra 2026 network v1"));
    hasher.text(&format!("{:?}", graph.padding()));
    let input = graph.input();
    hasher.numbers([input.channels, input.height, input.width].map(|v| v as f64));
    match &input.normalisation {
        Normalisation::PerImage { min_std } => hasher.numbers([*min_std]),
        Normalisation::PerChannel { mean, std } => hasher.numbers(mean.iter().chain(std).copied()),
    }
    // Without a bound, digests are what they were before there were bounds.
    if let Some(bound) = input.clip {
        hasher.text("clip");
        hasher.numbers([bound]);
    }
    hasher.numbers([graph.classes().len() as f64]);
    graph.classes().iter().for_each(|c| hasher.text(c));
    for node in graph.nodes() {
        hasher.text(node.name());
        hasher.text(node.operator().name());
        hasher.numbers(node.inputs().iter().map(|i| i.index() as f64));
        match node.operator() {
            Operator::Convolution(c) => {
                hasher.numbers([c.stride as f64]);
                hasher.tensor(Some(&c.weight));
                hasher.tensor(c.bias.as_ref());
            }
            Operator::BatchNorm(n) => {
                hasher.numbers([n.epsilon]);
                [&n.scale, &n.shift, &n.mean, &n.variance].into_iter().for_each(|t| hasher.tensor(Some(t)));
            }
            Operator::Polynomial(p) => {
                (0..node.shape().channels()).for_each(|c| hasher.numbers(p.coefficients(c)));
            }
            Operator::AveragePool(Pool::Square(k)) => hasher.numbers([*k as f64]),
            Operator::Linear(l) => {
                hasher.tensor(Some(&l.weight));
                hasher.tensor(l.bias.as_ref());
            }
            _ => {}
        }
    }
    hasher.numbers([graph.output().index() as f64]);
    *hasher.0.finalize().as_bytes()
}

/// BLAKE3 over the digests of the members of an ensemble, in order; of one network alone, its own digest.
#[must_use]
pub fn ensemble_digest(members: &[[u8; 32]]) -> [u8; 32] {
    match members {
        [one] => *one,
        _ => {
            let mut hasher = blake3::Hasher::new_derive_key("umbra 2026 ensemble v1");
            members.iter().for_each(|digest| {
                hasher.update(digest);
            });
            *hasher.finalize().as_bytes()
        }
    }
}

struct Hasher(blake3::Hasher);

impl Hasher {
    fn text(&mut self, text: &str) {
        self.0.update(&(text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
    }

    fn numbers(&mut self, numbers: impl IntoIterator<Item = f64>) {
        let mut count = 0u64;
        for number in numbers {
            self.0.update(&number.to_bits().to_le_bytes());
            count += 1;
        }
        self.0.update(&count.to_le_bytes());
    }

    fn tensor(&mut self, tensor: Option<&umbra_model::Tensor>) {
        let Some(tensor) = tensor else { return self.numbers([]) };
        self.numbers(tensor.shape().iter().map(|d| *d as f64));
        tensor.values().iter().for_each(|v| {
            self.0.update(&v.to_bits().to_le_bytes());
        });
    }
}
