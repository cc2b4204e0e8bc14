//! Whether networks can share an index map.

use crate::ClusterError;
use umbra_model::{Graph, Node, Operator, Pool};

/// Checks that all networks compute the same but for their weights. Names of nodes may differ.
pub(super) fn check(members: &[Graph]) -> Result<(), ClusterError> {
    let [first, others @ ..] = members else { return Ok(()) };
    for (number, graph) in others.iter().enumerate() {
        if let Some((what, found, expected)) = difference(graph, first) {
            let (member, network) = (number + 2, graph.name().to_string());
            return Err(ClusterError::Architecture { member, network, what, found, expected });
        }
    }
    Ok(())
}

/// The first difference: what, and in both networks.
fn difference(graph: &Graph, first: &Graph) -> Option<(String, String, String)> {
    let differ = |what: &str, a: String, b: String| (a != b).then(|| (what.to_string(), a, b));
    let nodes = || {
        let pairs = graph.nodes().iter().zip(first.nodes());
        pairs.into_iter().find_map(|(a, b)| differ(&format!("node {:?}", a.name()), describe(a), describe(b)))
    };
    differ("the geometry", format!("{:?}", graph.padding()), format!("{:?}", first.padding()))
        .or_else(|| differ("the input", format!("{:?}", graph.input()), format!("{:?}", first.input())))
        .or_else(nodes)
        .or_else(|| differ("the number of nodes", graph.nodes().len().to_string(), first.nodes().len().to_string()))
        .or_else(|| differ("the output", graph.output().index().to_string(), first.output().index().to_string()))
}

/// Everything of a node but its name and its values.
fn describe(node: &Node) -> String {
    let inputs: Vec<String> = node.inputs().iter().map(|i| i.index().to_string()).collect();
    let inputs = format!("of node {}", inputs.join(" and "));
    let bias = |has: bool| if has { " with bias" } else { "" };
    match node.operator() {
        Operator::Convolution(c) => {
            format!("a convolution {:?}{} at stride {} {inputs}", c.weight.shape(), bias(c.bias.is_some()), c.stride)
        }
        Operator::Linear(l) => format!("a linear layer {:?}{} {inputs}", l.weight.shape(), bias(l.bias.is_some())),
        Operator::AveragePool(Pool::Square(k)) => format!("an average_pool of {k} x {k} {inputs}"),
        operator => format!("{operator} to {} {inputs}", node.shape()),
    }
}
