//! What goes into the products of a model, squared and averaged: the values of an importance matrix (`spec/session.md` §10).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

/// Sums over everything that a backend multiplies with its matrices.
///
/// Sums are f64: millions of tokens would be lost on an f32 of their size.
#[derive(Default, Debug)]
pub struct Collector {
    /// By the name of the first tensor with these inputs.
    inputs: Mutex<BTreeMap<String, Inputs>>,
}

/// The inputs of one matrix, or of a stack of equal ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// Tensors that are multiplied with them.
    pub tensors: Vec<String>,
    /// Columns of a matrix.
    pub width: usize,
    /// Rows that came to each matrix of the stack.
    pub rows: Vec<u64>,
    /// `Σ x²` of each column, matrix after matrix.
    squares: Vec<f64>,
}

impl Inputs {
    /// The mean of `x²` for each column of matrix `i`; `None` if nothing came to it.
    pub fn mean_squares(&self, i: usize) -> Option<impl Iterator<Item = f32> + '_> {
        let (rows, squares) = (self.rows[i], &self.squares[i * self.width..(i + 1) * self.width]);
        (rows > 0).then(|| squares.iter().map(move |sum| (sum / rows as f64) as f32))
    }
}

impl Collector {
    /// Adds rows of `width` values that are multiplied with matrix `i` of the `count` in each of `tensors`.
    pub(crate) fn add<'x>(
        &self,
        tensors: &[&str],
        (i, count): (usize, usize),
        width: usize,
        rows: impl IntoIterator<Item = &'x [f32]>,
    ) {
        let [first, ..] = tensors else { return };
        let mut all = self.lock();
        if !all.contains_key(*first) {
            let tensors = tensors.iter().map(|name| (*name).to_owned()).collect();
            let inputs = Inputs { tensors, width, rows: vec![0; count], squares: vec![0.0; count * width] };
            all.insert((*first).to_owned(), inputs);
        }
        let Some(inputs) = all.get_mut(*first) else { return };
        let squares = &mut inputs.squares[i * width..(i + 1) * width];
        for row in rows {
            squares.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x) * f64::from(*x));
            inputs.rows[i] += 1;
        }
    }

    /// What was collected, in order of names; it begins again with nothing.
    pub fn take(&self) -> Vec<Inputs> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Inputs>> {
        // Sums of a thread that panicked are those of fewer rows.
        self.inputs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_averaged_over_the_rows_of_each_matrix() {
        let collector = Collector::default();
        let add = |i, rows: &[[f32; 2]]| {
            collector.add(&["gate", "up"], (i, 3), 2, rows.iter().map(|row| &row[..]));
        };
        add(0, &[[1.0, 2.0]]);
        add(2, &[[3.0, 0.0], [1.0, -4.0]]);
        add(2, &[[-2.0, 2.0], [0.0, 0.0]]);
        let inputs = collector.take();
        assert_eq!(inputs.len(), 1);
        assert_eq!(
            (&inputs[0].tensors[..], &inputs[0].rows[..]),
            (&["gate", "up"].map(str::to_owned)[..], &[1, 0, 4][..])
        );
        let means = |i| inputs[0].mean_squares(i).map(Iterator::collect::<Vec<f32>>);
        assert_eq!([means(0), means(1), means(2)], [Some(vec![1.0, 4.0]), None, Some(vec![3.5, 5.0])]);
        assert_eq!(collector.take(), []);
    }
}
