//! k-means on vectors: k-means++ seeding, then Lloyd's iteration with Hamerly's lower bounds, several times over.
//!
//! Nothing depends on the number of threads: every point is assigned on its own, and sums are taken over a fixed number
//! of pieces in their order.

use std::num::NonZeroUsize;
use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

/// Pieces that sums over points are taken in.
const PIECES: usize = 64;
/// Iterations of one start at most.
const MAX_ITERATIONS: usize = 200;
/// An iteration that lowers the error by a smaller part is the last.
const SMALLEST_GAIN: f64 = 1e-6;

/// Where the vectors went.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorClusters {
    /// At most `k` centres, one after the other.
    pub centres: Vec<f64>,
    /// The centre of each vector.
    pub index: Vec<u32>,
    /// Sum of squared distances of the vectors to their centres.
    pub error: f64,
    /// The same right after seeding.
    pub start_error: f64,
}

/// Clusters finite vectors of `dimensions` coordinates, one after the other in `values`, into at most `k` clusters,
/// fewer where there are fewer distinct vectors. The best of `restarts` starts; the same for the same `seed`, whatever
/// the number of threads. A `k` or `dimensions` of zero counts as one.
#[must_use]
pub fn cluster_vectors(
    values: &[f64],
    dimensions: usize,
    k: usize,
    seed: u64,
    restarts: NonZeroUsize,
) -> VectorClusters {
    let dimensions = dimensions.max(1);
    let rows: Vec<&[f64]> = values.chunks_exact(dimensions).collect();
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let compare = |a: &[f64], b: &[f64]| {
        a.iter().zip(b).map(|(a, b)| a.total_cmp(b)).find(|o| o.is_ne()).unwrap_or(std::cmp::Ordering::Equal)
    };
    order.par_sort_unstable_by(|&a, &b| compare(rows[a], rows[b]).then(a.cmp(&b)));
    let mut points = Points { dimensions, values: Vec::new(), mass: Vec::new() };
    let mut distinct = vec![0u32; rows.len()];
    for (position, &i) in order.iter().enumerate() {
        let repeated = position > 0 && compare(rows[order[position - 1]], rows[i]).is_eq();
        if !repeated {
            points.values.extend_from_slice(rows[i]);
            points.mass.push(0.0);
        }
        let last = points.mass.len() - 1;
        points.mass[last] += 1.0;
        distinct[i] = last as u32;
    }
    let mut best = if k.max(1) >= points.len() {
        let index = (0..points.len() as u32).collect();
        VectorClusters { centres: points.values, index, error: 0.0, start_error: 0.0 }
    } else {
        let start = |restart: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(restart as u64);
            Lloyd::seeded(&points, k.max(1), &mut rng).run()
        };
        (1..restarts.get()).map(start).fold(start(0), |a, b| if b.error < a.error { b } else { a })
    };
    best.index = distinct.iter().map(|&d| best.index[d as usize]).collect();
    best
}

/// Distinct vectors and how often each occurs.
struct Points {
    dimensions: usize,
    values: Vec<f64>,
    mass: Vec<f64>,
}

impl Points {
    fn len(&self) -> usize {
        self.mass.len()
    }

    fn at(&self, i: usize) -> &[f64] {
        &self.values[i * self.dimensions..(i + 1) * self.dimensions]
    }

    /// The ranges that sums are taken over.
    fn pieces(&self) -> Vec<Range<usize>> {
        let size = self.len().div_ceil(PIECES).max(1);
        (0..self.len()).step_by(size).map(|start| start..(start + size).min(self.len())).collect()
    }
}

fn squared(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

/// What is known of a point.
#[derive(Clone, Copy)]
struct Place {
    centre: u32,
    /// Squared distance to it.
    squared: f64,
    /// No other centre is nearer than this.
    others: f64,
}

/// One start.
struct Lloyd<'a> {
    points: &'a Points,
    centres: Vec<f64>,
    places: Vec<Place>,
}

impl<'a> Lloyd<'a> {
    /// k-means++ (Arthur, Vassilvitskii 2007): each centre is a point drawn with a probability proportional to its
    /// squared distance from the centres before.
    fn seeded(points: &'a Points, k: usize, rng: &mut ChaCha8Rng) -> Self {
        let pieces = points.pieces();
        let size = pieces.first().map_or(1, Range::len);
        let mut places = vec![Place { centre: 0, squared: f64::INFINITY, others: 0.0 }; points.len()];
        // The first with a probability proportional to mass alone.
        let mut chances: Vec<f64> = pieces.iter().map(|p| points.mass[p.clone()].iter().sum()).collect();
        let mut centres: Vec<f64> = Vec::with_capacity(k * points.dimensions);
        for number in 0..k {
            let chance = |i: usize, place: &Place| {
                if number == 0 { points.mass[i] } else { points.mass[i] * place.squared }
            };
            let total: f64 = chances.iter().sum();
            let mut left = rng.random::<f64>() * total;
            let last = chances.iter().rposition(|&c| c > 0.0);
            let piece = chances.iter().enumerate().position(|(p, &chance)| {
                let here = left < chance || Some(p) == last;
                left -= if here { 0.0 } else { chance };
                here
            });
            // All points are centres: there are no more distinct ones.
            let Some(piece) = piece else { break };
            let mut chosen = None;
            for i in pieces[piece].clone() {
                let chance = chance(i, &places[i]);
                if chance > 0.0 {
                    chosen = Some(i);
                    if left < chance {
                        break;
                    }
                    left -= chance;
                }
            }
            let Some(chosen) = chosen else { break };
            let centre = points.at(chosen).to_vec();
            // A point is nearer to its centre than to one more than twice as far from there.
            let distances: Vec<f64> = centres.chunks_exact(points.dimensions).map(|c| squared(c, &centre)).collect();
            let update = |(piece, places): (&Range<usize>, &mut [Place])| -> f64 {
                piece
                    .clone()
                    .zip(places)
                    .map(|(i, place)| {
                        if number == 0 || distances[place.centre as usize] < 4.0 * place.squared {
                            let distance = squared(points.at(i), &centre);
                            if distance < place.squared {
                                (place.centre, place.squared) = (number as u32, distance);
                            }
                        }
                        points.mass[i] * place.squared
                    })
                    .sum()
            };
            chances = pieces.par_iter().zip(places.par_chunks_mut(size)).map(update).collect();
            centres.extend(centre);
        }
        Self { points, centres, places }
    }

    fn run(mut self) -> VectorClusters {
        let mut start_error = f64::INFINITY;
        let mut last = f64::INFINITY;
        let mut error = f64::INFINITY;
        for iteration in 0..MAX_ITERATIONS {
            let before: Vec<u32> = self.places.iter().map(|p| p.centre).collect();
            error = self.assign();
            let moved = self.reseed_empty();
            let same = !moved && before.iter().zip(&self.places).all(|(b, p)| *b == p.centre);
            if iteration == 0 {
                start_error = error;
            }
            // The first round only repeats what seeding knows.
            let done = iteration > 0 && (same || (!moved && last - error <= SMALLEST_GAIN * last));
            if done || iteration + 1 == MAX_ITERATIONS {
                if moved {
                    error = self.assign();
                }
                break;
            }
            last = error;
            self.update();
        }
        let index = self.places.iter().map(|p| p.centre).collect();
        VectorClusters { centres: self.centres, index, error, start_error }
    }

    /// Gives every point its nearest centre, of several the first; returns the error.
    fn assign(&mut self) -> f64 {
        let points = self.points;
        let search = Search::new(points.dimensions, &self.centres);
        let gaps = search.gaps();
        let pieces = points.pieces();
        let size = pieces.first().map_or(1, Range::len);
        let centres = &self.centres;
        let piece = |(piece, places): (&Range<usize>, &mut [Place])| -> f64 {
            piece
                .clone()
                .zip(places)
                .map(|(i, place)| {
                    let point = points.at(i);
                    let own = place.centre as usize * points.dimensions;
                    place.squared = squared(point, &centres[own..own + points.dimensions]);
                    // No other centre is nearer (Hamerly 2010).
                    let bound = place.others.max(gaps[place.centre as usize]);
                    if place.squared.sqrt() >= bound {
                        *place = search.nearest(point, place.centre);
                    }
                    points.mass[i] * place.squared
                })
                .sum()
        };
        let errors: Vec<f64> = pieces.par_iter().zip(self.places.par_chunks_mut(size)).map(piece).collect();
        errors.iter().sum()
    }

    /// Moves every centre to the mean of its points.
    fn update(&mut self) {
        let (points, places) = (self.points, &self.places);
        let (dimensions, k) = (points.dimensions, self.centres.len() / points.dimensions);
        let pieces = points.pieces();
        let sums: Vec<(Vec<f64>, Vec<f64>)> = pieces
            .par_iter()
            .map(|piece| {
                let (mut sums, mut masses) = (vec![0.0; k * dimensions], vec![0.0; k]);
                for i in piece.clone() {
                    let centre = places[i].centre as usize;
                    masses[centre] += points.mass[i];
                    let sum = &mut sums[centre * dimensions..(centre + 1) * dimensions];
                    sum.iter_mut().zip(points.at(i)).for_each(|(s, v)| *s += points.mass[i] * v);
                }
                (sums, masses)
            })
            .collect();
        let (mut total, mut mass) = (vec![0.0; k * dimensions], vec![0.0; k]);
        for (sums, masses) in &sums {
            total.iter_mut().zip(sums).for_each(|(t, s)| *t += s);
            mass.iter_mut().zip(masses).for_each(|(t, s)| *t += s);
        }
        let mut moves = vec![0.0; k];
        for (c, sum) in total.chunks_exact_mut(dimensions).enumerate() {
            let centre = &mut self.centres[c * dimensions..(c + 1) * dimensions];
            // One that is still empty stays where it is.
            if mass[c] > 0.0 {
                sum.iter_mut().for_each(|s| *s /= mass[c]);
                moves[c] = squared(centre, sum).sqrt();
                centre.copy_from_slice(sum);
            }
        }
        // What other centres may have come nearer by: the longest move, or the second for whoever made the longest.
        let longest = (0..k).max_by(|&a, &b| moves[a].total_cmp(&moves[b]).then(b.cmp(&a))).unwrap_or(0);
        let second = (0..k).filter(|&c| c != longest).map(|c| moves[c]).fold(0.0, f64::max);
        self.places.par_iter_mut().for_each(|place| {
            place.others -= if place.centre as usize == longest { second } else { moves[longest] };
        });
    }

    /// Puts each centre without points on the point that adds most to the error; whether there were any.
    fn reseed_empty(&mut self) -> bool {
        let (points, dimensions) = (self.points, self.points.dimensions);
        let mut counts = vec![0usize; self.centres.len() / dimensions];
        self.places.iter().for_each(|p| counts[p.centre as usize] += 1);
        let mut empty: Vec<usize> = (0..counts.len()).filter(|&c| counts[c] == 0).collect();
        if empty.is_empty() {
            return false;
        }
        let weight = |p: &Place, i: usize| points.mass[i] * p.squared;
        let mut far: Vec<usize> = (0..points.len()).filter(|&i| self.places[i].squared > 0.0).collect();
        far.sort_unstable_by(|&a, &b| {
            weight(&self.places[b], b).total_cmp(&weight(&self.places[a], a)).then(a.cmp(&b))
        });
        let mut moved = false;
        for i in far {
            let Some(&c) = empty.first() else { break };
            let from = self.places[i].centre as usize;
            if counts[from] < 2 {
                continue;
            }
            empty.remove(0);
            (counts[from], counts[c]) = (counts[from] - 1, 1);
            self.centres[c * dimensions..(c + 1) * dimensions].copy_from_slice(points.at(i));
            self.places[i] = Place { centre: c as u32, squared: 0.0, others: 0.0 };
            moved = true;
        }
        if moved {
            // A centre that jumped may be near to any point.
            self.places.iter_mut().for_each(|p| p.others = 0.0);
        }
        moved
    }
}

/// Centres sorted along the coordinate in which they spread most, so that a search from a point outwards may end early.
struct Search<'a> {
    dimensions: usize,
    axis: usize,
    centres: &'a [f64],
    /// Coordinate and number, ascending.
    sorted: Vec<(f64, u32)>,
    /// The centres in that order.
    packed: Vec<f64>,
    /// Position of each centre in `sorted`.
    position: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(dimensions: usize, centres: &'a [f64]) -> Self {
        let spread = |axis: usize| {
            let along = || centres.iter().skip(axis).step_by(dimensions);
            let mean = along().sum::<f64>() / along().count().max(1) as f64;
            along().map(|c| (c - mean).powi(2)).sum::<f64>()
        };
        let spreads: Vec<f64> = (0..dimensions).map(spread).collect();
        let axis = (0..dimensions).max_by(|&a, &b| spreads[a].total_cmp(&spreads[b])).unwrap_or(0);
        let mut sorted: Vec<(f64, u32)> =
            centres.chunks_exact(dimensions).enumerate().map(|(i, c)| (c[axis], i as u32)).collect();
        sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut position = vec![0; sorted.len()];
        sorted.iter().enumerate().for_each(|(p, (_, c))| position[*c as usize] = p as u32);
        let at = |c: u32| &centres[c as usize * dimensions..(c as usize + 1) * dimensions];
        let packed = sorted.iter().flat_map(|(_, c)| at(*c)).copied().collect();
        Self { dimensions, axis, centres, sorted, packed, position }
    }

    /// The nearest centre, of several the first, and how near the next one is. `hint` is where the search begins.
    fn nearest(&self, point: &[f64], hint: u32) -> Place {
        let (mut centre, mut best, mut second) = (u32::MAX, f64::INFINITY, f64::INFINITY);
        let mut offer = |position: usize| {
            let (along, number) = self.sorted[position];
            // Not even the second: nor are those further out.
            if (along - point[self.axis]).powi(2) > second {
                return false;
            }
            let start = position * self.dimensions;
            let distance = squared(point, &self.packed[start..start + self.dimensions]);
            if distance < best || (distance == best && number < centre) {
                (centre, best, second) = (number, distance, best);
            } else if distance < second {
                second = distance;
            }
            true
        };
        let begin = self.position[hint as usize] as usize;
        let (mut below, mut above) = (begin, begin + 1);
        offer(begin);
        // The hint may lie to one side of the point, where coordinates first get nearer, so that a refusal on one side
        // is final only beyond the point.
        let x = point[self.axis];
        loop {
            let down = below > 0 && (offer(below - 1) || self.sorted[below - 1].0 > x);
            below -= usize::from(down);
            let up = above < self.sorted.len() && (offer(above) || self.sorted[above].0 < x);
            above += usize::from(up);
            if !down && !up {
                return Place { centre, squared: best, others: second.sqrt() };
            }
        }
    }

    /// Half the distance from each centre to the nearest other one.
    fn gaps(&self) -> Vec<f64> {
        let centres: Vec<&[f64]> = self.centres.chunks_exact(self.dimensions).collect();
        let gap = |(number, centre): (usize, &&[f64])| {
            // The nearest is itself, or one that is the same.
            self.nearest(centre, number as u32).others / 2.0
        };
        centres.par_iter().enumerate().map(gap).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONCE: NonZeroUsize = NonZeroUsize::MIN;

    fn random(n: usize, seed: u64) -> Vec<f64> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..n).map(|_| rng.random_range(-1.0f64..1.0).powi(3)).collect()
    }

    /// The index of the nearest centre by looking at all of them.
    fn nearest(point: &[f64], centres: &[f64]) -> (u32, f64) {
        let each = centres.chunks_exact(point.len()).enumerate().map(|(i, c)| (i as u32, squared(point, c)));
        each.fold((0, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a })
    }

    #[test]
    fn searches_find_what_looking_at_all_finds() {
        for dimensions in 1..=5 {
            let centres = random(60 * dimensions, 1);
            let search = Search::new(dimensions, &centres);
            for (number, point) in random(300 * dimensions, 2).chunks_exact(dimensions).enumerate() {
                let (centre, squared) = nearest(point, &centres);
                let found = search.nearest(point, (number % 60) as u32);
                assert_eq!((found.centre, found.squared), (centre, squared));
                let mut all: Vec<f64> = centres.chunks_exact(dimensions).map(|c| super::squared(point, c)).collect();
                all.sort_by(f64::total_cmp);
                assert_eq!(found.others, all[1].sqrt());
            }
        }
    }

    #[test]
    fn bounds_change_nothing() {
        // At the end every vector is with the nearest centre, and every centre is the mean of its vectors.
        for (dimensions, k) in [(1, 7), (2, 20), (4, 50)] {
            let values = random(2000 * dimensions, 3);
            let clusters = cluster_vectors(&values, dimensions, k, 1, ONCE);
            assert_eq!(clusters.centres.len(), k * dimensions);
            let mut error = 0.0;
            for (point, &index) in values.chunks_exact(dimensions).zip(&clusters.index) {
                let (centre, squared) = nearest(point, &clusters.centres);
                assert_eq!(index, centre);
                error += squared;
            }
            assert!((error - clusters.error).abs() < 1e-9 * error);
            let mut used = vec![false; k];
            clusters.index.iter().for_each(|&i| used[i as usize] = true);
            assert!(used.iter().all(|u| *u));
        }
    }

    #[test]
    fn the_result_is_never_worse_than_the_start() {
        for seed in 0..20 {
            let values = random(600, seed);
            let once = cluster_vectors(&values, 3, 1 + seed as usize, seed, ONCE);
            assert!(once.error <= once.start_error, "{} > {}", once.error, once.start_error);
            let more = cluster_vectors(&values, 3, 1 + seed as usize, seed, NonZeroUsize::new(4).expect("4"));
            assert!(more.error <= once.error);
        }
    }

    #[test]
    fn on_a_line_it_comes_near_the_optimum_and_never_below() {
        for seed in 0..5 {
            let values = random(500, 100 + seed);
            let optimum = super::super::line::cluster_line(&values, 8).error(&values);
            let found = cluster_vectors(&values, 1, 8, seed, NonZeroUsize::new(10).expect("10")).error;
            assert!(found >= optimum * (1.0 - 1e-9) && found <= optimum * 1.3, "{found}, optimum {optimum}");
        }
    }

    #[test]
    fn results_depend_on_the_seed_but_not_on_threads() {
        let values = random(30_000, 4);
        let with = |threads: usize, seed: u64| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| cluster_vectors(&values, 3, 40, seed, NonZeroUsize::new(2).expect("2")))
        };
        let one = with(1, 5);
        assert_eq!(one, with(3, 5));
        assert_ne!(one.centres, with(1, 6).centres);
    }

    #[test]
    fn few_distinct_vectors_are_kept_exactly() {
        let values = [0.1, 0.2, -0.3, 0.4, 0.1, 0.2, 0.1, -0.2];
        let clusters = cluster_vectors(&values, 2, 4, 1, ONCE);
        assert_eq!(clusters.error, 0.0);
        for (vector, &i) in values.chunks_exact(2).zip(&clusters.index) {
            assert_eq!(vector, &clusters.centres[2 * i as usize..2 * i as usize + 2]);
        }
        assert_eq!(clusters.centres.len(), 6);
    }

    #[test]
    fn empty_clusters_are_put_where_the_error_is() {
        let points = Points { dimensions: 1, values: vec![0.0, 0.1, 5.0, 9.0], mass: vec![1.0; 4] };
        let place = Place { centre: 0, squared: 0.0, others: 0.0 };
        // All points are nearest to the first centre.
        let lloyd = Lloyd { points: &points, centres: vec![3.0, 100.0, 200.0], places: vec![place; 4] };
        let clusters = lloyd.run();
        let mut centres = clusters.centres.clone();
        centres.sort_by(f64::total_cmp);
        assert_eq!(centres, [0.05, 5.0, 9.0]);
        assert!((clusters.error - 0.005).abs() < 1e-12);
    }

    #[test]
    fn nothing_has_no_clusters() {
        assert!(cluster_vectors(&[], 3, 2, 1, ONCE).centres.is_empty());
    }
}
