//! Optimal k-means on a line.
//!
//! Optimal clusters of sorted values are intervals, so that the problem is a shortest path with exactly `k` edges from
//! 0 to `n` whose edge `(i, j)` costs the squared error of the values `i..j` around their mean. These costs have the
//! Monge property, hence the best total is convex in the number of edges, and charging a price for every edge turns
//! "exactly `k`" into a search for the price (Aggarwal, Schieber, Tokuyama 1994; for k-means: Grønlund, Larsen,
//! Mathiasen, Nielsen, "Fast exact k-means, k-medians and Bregman divergence clustering in 1D", 2017). Each price takes
//! `O(n log n)` time; time does not grow with `k` and memory is `O(n)`, where the table of the usual dynamic program
//! would take gigabytes for the weights of a network.

/// Where the values went.
#[derive(Clone, Debug, PartialEq)]
pub struct LineClusters {
    /// The means, ascending; at most `k`, fewer where there are fewer distinct values.
    pub centres: Vec<f64>,
    /// The centre of each value, in the order of the input.
    pub index: Vec<u32>,
}

impl LineClusters {
    /// Sum of squared distances of `values`, which the clusters are of.
    #[must_use]
    pub fn error(&self, values: &[f64]) -> f64 {
        values.iter().zip(&self.index).map(|(v, &i)| (v - self.centres[i as usize]).powi(2)).sum()
    }
}

/// The partition of finite `values` into at most `k` clusters with the smallest sum of squared distances to the means,
/// exact up to the rounding of `f64` sums. `k` of zero counts as one.
#[must_use]
pub fn cluster_line(values: &[f64], k: usize) -> LineClusters {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_unstable_by(|&a, &b| values[a].total_cmp(&values[b]).then(a.cmp(&b)));
    // Distinct values with the number of times they occur; where each begins in `order`.
    let mut starts = Vec::new();
    let mut sorted: Vec<(f64, f64)> = Vec::new();
    for (position, &i) in order.iter().enumerate() {
        match sorted.last_mut() {
            Some((value, count)) if *value == values[i] => *count += 1.0,
            _ => {
                sorted.push((values[i], 1.0));
                starts.push(position);
            }
        }
    }
    starts.push(order.len());
    let line = Line::new(&sorted);
    let cuts = line.partition(k.max(1));
    let mut clusters = LineClusters { centres: Vec::with_capacity(cuts.len()), index: vec![0; values.len()] };
    for (number, cut) in cuts.windows(2).enumerate() {
        // Means of what is there rather than of prefix sums: a cluster of one value is that value.
        let group = &sorted[cut[0]..cut[1]];
        let base = group[0].0;
        let (sum, count) = group.iter().fold((0.0, 0.0), |(s, n), (v, c)| (s + (v - base) * c, n + c));
        clusters.centres.push(base + sum / count);
        for &i in &order[starts[cut[0]]..starts[cut[1]]] {
            clusters.index[i] = number as u32;
        }
    }
    clusters
}

/// Sorted distinct values as prefix sums of counts, values and squares, about the mean to keep differences accurate.
struct Line {
    sums: Vec<[f64; 3]>,
}

/// The cheapest path for one price.
struct Path {
    /// The last edge into each node begins here.
    parent: Vec<u32>,
    edges: usize,
}

impl Line {
    fn new(sorted: &[(f64, f64)]) -> Self {
        let (total, count) = sorted.iter().fold((0.0, 0.0), |(s, n), (v, c)| (s + v * c, n + c));
        let mean = if count > 0.0 { total / count } else { 0.0 };
        let mut sums = Vec::with_capacity(sorted.len() + 1);
        let mut last = [0.0; 3];
        sums.push(last);
        for (value, count) in sorted {
            let v = value - mean;
            last = [last[0] + count, last[1] + count * v, last[2] + count * v * v];
            sums.push(last);
        }
        Self { sums }
    }

    fn len(&self) -> usize {
        self.sums.len() - 1
    }

    /// Squared error of the values `i..j`, `i < j`.
    fn cost(&self, i: usize, j: usize) -> f64 {
        let (a, b) = (&self.sums[i], &self.sums[j]);
        let [count, sum, squares] = [b[0] - a[0], b[1] - a[1], b[2] - a[2]];
        // A single value has none; elsewhere rounding must not make it negative.
        if j - i == 1 { 0.0 } else { (squares - sum * sum / count).max(0.0) }
    }

    /// The boundaries of the best `min(k, n)` intervals: `0 = b_0 < b_1 < ... = n`.
    fn partition(&self, k: usize) -> Vec<usize> {
        let n = self.len();
        if k >= n {
            return (0..=n).collect();
        }
        if k == 1 {
            return vec![0, n];
        }
        // Without a price every value is on its own; at the price of everything in one interval there is one.
        let (mut low, mut long) = (0.0f64, (0..=n).collect::<Vec<_>>());
        let (mut high, mut short) = (self.cost(0, n), vec![0, n]);
        let mut guess = None;
        loop {
            // Between neighbouring numbers there is no other price.
            let middle = f64::from_bits(low.to_bits().midpoint(high.to_bits()));
            if middle == low || middle == high {
                return splice(&short, &long, k);
            }
            let price = guess.take().filter(|g| low < *g && *g < high);
            let guessed = price.is_some();
            let price = price.unwrap_or(middle);
            let path = self.cheapest(price);
            let edges = path.edges;
            let cuts = path.cuts(n);
            match edges.cmp(&k) {
                std::cmp::Ordering::Equal => return cuts,
                std::cmp::Ordering::Greater => (low, long) = (price, cuts),
                std::cmp::Ordering::Less => (high, short) = (price, cuts),
            }
            // The number of intervals goes about with the inverse cube root of the price. A guess every other time, so
            // that halving bounds the number of rounds.
            if !guessed {
                guess = Some(price * (edges as f64 / k as f64).powi(3));
            }
        }
    }

    /// The path from 0 to `n` with the smallest sum of costs and `price` for each edge. Because of the Monge property
    /// the best predecessor never moves back, so that the predecessors still in question form a queue of intervals.
    fn cheapest(&self, price: f64) -> Path {
        let n = self.len();
        let mut parent = vec![0u32; n + 1];
        let mut edges = vec![0u32; n + 1];
        let mut best = vec![0.0; n + 1];
        // A predecessor and the first node that it is best for, both ascending.
        let mut queue: Vec<(u32, u32)> = vec![(0, 1)];
        let mut head = 0;
        for j in 1..=n {
            while head + 1 < queue.len() && queue[head + 1].1 as usize <= j {
                head += 1;
            }
            let i = queue[head].0 as usize;
            best[j] = best[i] + self.cost(i, j) + price;
            (parent[j], edges[j]) = (i as u32, edges[i] + 1);
            let through = |from: usize, to: usize| best[from] + self.cost(from, to);
            // From where on `j` is better than the last in the queue, which is dropped where it is so from its very
            // start.
            let mut start = n + 1;
            while let Some(&(last, first)) = queue.get(head..).and_then(<[_]>::last) {
                let first = (first as usize).max(j + 1);
                let last = last as usize;
                if first <= n && through(j, first) < through(last, first) {
                    start = first;
                    queue.pop();
                    if queue.len() == head {
                        break;
                    }
                    continue;
                }
                // Better nowhere in (.., low], better from high on.
                let (mut low, mut high) = (first, start.min(n + 1));
                while low + 1 < high {
                    let middle = low.midpoint(high);
                    if through(j, middle) < through(last, middle) { high = middle } else { low = middle }
                }
                start = high;
                break;
            }
            if start <= n {
                queue.push((j as u32, start as u32));
            }
        }
        Path { parent, edges: edges[n] as usize }
    }
}

impl Path {
    fn cuts(&self, n: usize) -> Vec<usize> {
        let mut cuts = vec![n];
        let mut node = n;
        while node > 0 {
            node = self.parent[node] as usize;
            cuts.push(node);
        }
        cuts.reverse();
        cuts
    }
}

/// A path of exactly `k` edges from two that are cheapest at one price, one with fewer and one with more: the beginning
/// of the long one up to an edge of it that lies inside an edge of the short one, then the end of the short one. It is
/// cheapest, too (Monge).
fn splice(short: &[usize], long: &[usize], k: usize) -> Vec<usize> {
    let ahead = k + 1 - short.len();
    // At the start the long path is not behind, at the end it is not ahead; in between the two change places.
    let crossing = (0..short.len() - 1).find(|&x| long[x + ahead] >= short[x] && long[x + ahead + 1] <= short[x + 1]);
    let x = crossing.unwrap_or(0);
    long[..=x + ahead].iter().chain(&short[x + 1..]).copied().collect()
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The smallest error over all assignments of `values` to `k` clusters, contiguous or not.
    fn brute_force(values: &[f64], k: usize) -> f64 {
        let assignments = (k as u64).pow(values.len() as u32);
        let error = |mut code: u64| {
            let mut groups = vec![Vec::new(); k];
            for v in values {
                groups[(code % k as u64) as usize].push(*v);
                code /= k as u64;
            }
            let around = |g: &Vec<f64>| {
                let mean = g.iter().sum::<f64>() / g.len().max(1) as f64;
                g.iter().map(|v| (v - mean).powi(2)).sum::<f64>()
            };
            groups.iter().map(around).sum::<f64>()
        };
        (0..assignments).map(error).fold(f64::INFINITY, f64::min)
    }

    /// The dynamic program over sorted values without any of the ideas above: `O(k n^2)` errors, each summed directly.
    fn table(values: &[f64], k: usize) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let cost = |i: usize, j: usize| {
            let mean = sorted[i..j].iter().sum::<f64>() / (j - i) as f64;
            sorted[i..j].iter().map(|v| (v - mean).powi(2)).sum::<f64>()
        };
        let mut best: Vec<f64> = (0..=n).map(|j| if j == 0 { 0.0 } else { f64::INFINITY }).collect();
        for _ in 0..k {
            best = (0..=n).map(|j| (0..j).map(|i| best[i] + cost(i, j)).fold(best[j], f64::min)).collect();
        }
        best[n]
    }

    #[test]
    fn small_inputs_agree_with_all_assignments() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for round in 0..150 {
            let n = rng.random_range(1..=7);
            let k = rng.random_range(1..=3);
            // Few distinct values every other time.
            let value = |r: &mut ChaCha8Rng| match round % 2 {
                0 => r.random_range(-1.0..1.0),
                _ => f64::from(r.random_range(-2i8..=2)),
            };
            let values: Vec<f64> = (0..n).map(|_| value(&mut rng)).collect();
            let (found, expected) = (cluster_line(&values, k).error(&values), brute_force(&values, k));
            assert!((found - expected).abs() < 1e-12, "{values:?}, k = {k}: {found}, {expected}");
        }
    }

    #[test]
    fn larger_inputs_agree_with_the_table() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for round in 0..60 {
            let n = rng.random_range(2..=60);
            let value = |r: &mut ChaCha8Rng| match round % 3 {
                0 => r.random_range(-1.0f64..1.0),
                1 => f64::from(r.random_range(0u8..20)),
                _ => r.random_range(-1.0f64..1.0).powi(7) * 100.0 + 50.0,
            };
            let values: Vec<f64> = (0..n).map(|_| value(&mut rng)).collect();
            for k in [1, 2, 3, n / 3 + 1, n - 1, n, n + 5] {
                let clusters = cluster_line(&values, k);
                assert!(clusters.centres.len() <= k && clusters.centres.is_sorted());
                let (found, expected) = (clusters.error(&values), table(&values, k));
                assert!((found - expected).abs() <= 1e-9 * expected + 1e-10, "n {n}, k {k}: {found}, {expected}");
            }
        }
    }

    #[test]
    fn equal_gaps_leave_prices_without_the_right_number() {
        // Every gap is worth the same, so that the number of clusters jumps and paths must be spliced.
        let values: Vec<f64> = (0..24).map(f64::from).collect();
        for k in 1..=24 {
            let clusters = cluster_line(&values, k);
            assert_eq!(clusters.centres.len(), k);
            assert!((clusters.error(&values) - table(&values, k)).abs() < 1e-9, "k = {k}");
        }
    }

    #[test]
    fn few_distinct_values_are_kept_exactly() {
        let values = [0.1, -0.7, 0.1, 0.3, -0.7, 0.1];
        let clusters = cluster_line(&values, 5);
        assert_eq!(clusters.centres, [-0.7, 0.1, 0.3]);
        assert_eq!(clusters.index, [1, 0, 1, 2, 0, 1]);
        assert_eq!(clusters.error(&values), 0.0);
    }

    #[test]
    fn every_value_is_next_to_its_own_centre() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let values: Vec<f64> = (0..5000).map(|_| rng.random_range(-1.0f64..1.0).powi(3)).collect();
        let clusters = cluster_line(&values, 40);
        assert_eq!(clusters.centres.len(), 40);
        for (v, &i) in values.iter().zip(&clusters.index) {
            let nearest = clusters.centres.iter().map(|c| (c - v).abs()).fold(f64::INFINITY, f64::min);
            assert!((clusters.centres[i as usize] - v).abs() <= nearest + 1e-12);
        }
    }

    #[test]
    fn nothing_has_no_clusters() {
        assert_eq!(cluster_line(&[], 3), LineClusters { centres: vec![], index: vec![] });
    }
}
