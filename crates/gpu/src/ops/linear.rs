//! Products of weight matrices with activation rows.

use super::hyper::{COLLAPSE_BINDINGS, Collapse, CollapseKind, EXPANDED_ROWS_MAX, Expand, STRETCH_LEAST, Stretch};
use super::source::{Input, Source, THREADS, Teams, Use, has_lattice, lanes};
use super::units::{
    FEW_UNITS_ROWS, TILE_ROWS_LEAST, Tile, UNITS_BYTES, Units, few_units_source, few_units_workgroups, fits_few_units,
    has_few_units, tile_source,
};
use crate::device::Caps;
use crate::gpu::{BINDINGS_MAX, Buffer, Gpu, Kernel, words};
use crate::parts;
use crate::rows::{BYTE_ROWS_MAX, Rows, Vector};
use crate::weights::Matrix;
use ds4_engine::Precision;
use ds4_engine::{Error, Result};
use ds4_quant::iq2_grid::GRID;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most rows of a pass that [`Tuning`] may ask for: every number of rows has its own kernel.
const PASS_ROWS_MAX: usize = BYTE_ROWS_MAX;
/// Workgroups that a large device needs to be busy: two for each of its cores.
const WORKGROUPS_LEAST: u32 = 256;
/// Fewest workgroups for which a pass that collapses at its beginning has the largest ones: each of them collapses, but cores should not be idle.
const COLLAPSE_WORKGROUPS_LEAST: u32 = 64;
/// Workgroup memory of a pass that collapses at its beginning, besides what that takes.
const COLLAPSE_BESIDE_BYTES: u32 = 2 << 10;
/// Buffers of a pass whose rows leave as bytes for a norm, besides its inputs, matrices and outputs.
const EMIT_BINDINGS: usize = 3;
/// Most rows that leave as bytes for a norm: every team of the next product sums up the squares of all of them.
const EMITTED_FOR_NORM_MAX: usize = 4;

/// What may be chosen by timing: `tune` does so for what does not change the arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tuning {
    /// Rows that one pass over the weights serves, at most 16; more go through tiles.
    pub pass_rows: usize,
    /// Most rows of a matrix that a team takes at once, a power of two: more share the activations, but need registers.
    pub team_rows: u32,
    /// Rows from which activations in front of Q8_0 become bytes: reading its weights takes longer than multiplying them, until rows are many.
    pub q8_0_bytes_from: usize,
    /// Copies of the lattice in workgroup memory, a power of two up to 16.
    pub lattice_copies: u32,
    /// Most rows whose products expand the streams at their end, at most 4.
    pub expanded_rows: usize,
    /// Threads of a workgroup of such a product where there are subgroups and the device can: 256, 512 or 1024.
    pub expand_threads: u32,
    /// Rows of a matrix that a team of it takes for a single row, a power of two; for more it is as for other products. Few dims of each
    /// stream a workgroup mean many sums to add up afterwards: with subgroups of 32 it has `expand_threads · expand_team_rows / 32`.
    pub expand_team_rows: u32,
    /// On matrix units: rows of the largest tile, 64 or 128.
    pub tile_rows: usize,
    /// On matrix units: whether the next tile is read while the last one is multiplied.
    pub prefetch: bool,
}

impl Tuning {
    /// A good choice for any device.
    pub fn of(precision: Precision) -> Self {
        let pass_rows = if precision == Precision::Exact { 8 } else { PASS_ROWS_MAX };
        Self {
            pass_rows,
            team_rows: 2,
            q8_0_bytes_from: 1,
            lattice_copies: 4,
            expanded_rows: EXPANDED_ROWS_MAX,
            expand_threads: 4 * THREADS,
            expand_team_rows: 1,
            tile_rows: 128,
            prefetch: true,
        }
    }
}

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../kernels/linear/", $name, ".wgsl"))
    };
}

/// What workgroups do with their rows of the first matrix at the end.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Ending {
    Plain,
    /// They leave as bytes too, from workgroups of so many threads.
    Bytes(u32),
    /// The same times the weights of the norm that follows.
    BytesForNorm(u32),
    /// They are expanded.
    Expand(Stretch),
}

/// Where the rows of a pass come from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    /// They are there, and are normed with these weights and this epsilon, if so.
    Rows(&'a Rows, Option<(&'a Vector, f32)>),
    /// A single one is collapsed first, by workgroups of so many threads.
    Streams(&'a Collapse<'a>, u32),
}

/// A team's sums, kept for the end (`kernels/linear/matvec.wgsl`).
const KEEP: &str = "if (thread % LANES == 0u) { kept[r * KEPT + thread / LANES * RPT + i] = sum; }";

/// The norm of an input.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct NormUse {
    /// f32 activations are multiplied with its weights.
    of_floats: bool,
    /// Its factor is still missing from the bytes.
    of_bytes: bool,
    /// Bits of its epsilon.
    eps: u32,
}

/// What a kernel depends on.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Pass { uses: Vec<Use>, norm: NormUse, collapse: Option<CollapseKind>, ending: Ending },
    FewUnits { uses: Vec<Use> },
    Tile { w: Use, tile: Tile, slots: Option<usize> },
    Embed { w: Use },
    Quantize { cols: usize, is_normed: bool },
    Normalize { cols: usize },
    Halve { cols: usize, is_normed: bool },
}

/// The largest sizes of a step.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Rows.
    pub rows: usize,
    /// Values of a row of any input.
    pub cols: usize,
    /// Values of a row of an input that is normed on the way.
    pub normed_cols: usize,
}

/// Slots in order of their experts, cut into tiles (`kernels/experts/tiles.wgsl`).
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a> {
    /// Tiles: expert, first place, how many.
    pub tiles: &'a Buffer,
    /// How many at most.
    pub count: u32,
    /// Sizes of a tile.
    pub tile: Tile,
    /// Slot at each place.
    pub order: &'a Buffer,
    /// Slots that share a row of the input.
    pub per_x: usize,
}

/// Kernels and scratch memory for products.
pub struct Linear {
    precision: Precision,
    tuning: Tuning,
    limits: Limits,
    units: Option<&'static Units>,
    kernels: Mutex<HashMap<Key, Arc<Kernel>>>,
    lattice: Buffer,
    /// For tiles: rows in half precision for matrix units, or else normed ones.
    halves: Buffer,
    normed: Rows,
    no_norm: Buffer,
}

fn wrong(what: String) -> Error {
    Error::Device(what)
}

impl Linear {
    /// Scratch memory for steps of these sizes.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu, precision: Precision, limits: Limits) -> Result<Self> {
        Self::tuned(gpu, precision, limits, Tuning::of(precision))
    }

    /// The same with another tuning.
    ///
    /// # Errors
    /// Out of memory.
    pub fn tuned(gpu: &Gpu, precision: Precision, limits: Limits, tuning: Tuning) -> Result<Self> {
        Self::with_units(gpu, precision, limits, tuning, Units::of(gpu.caps(), precision))
    }

    /// The same with these matrix units, or with none, whatever the device has.
    ///
    /// # Errors
    /// Out of memory.
    pub fn with_units(
        gpu: &Gpu,
        precision: Precision,
        limits: Limits,
        tuning: Tuning,
        units: Option<&'static Units>,
    ) -> Result<Self> {
        let (pass_rows, expanded_rows) =
            (tuning.pass_rows.clamp(1, PASS_ROWS_MAX), tuning.expanded_rows.min(EXPANDED_ROWS_MAX));
        let tuning = Tuning { pass_rows, expanded_rows, ..tuning };
        let lattice: Vec<u32> = GRID.iter().flat_map(|point| [*point as u32, (*point >> 32) as u32]).collect();
        let pass_rows = limits.rows.min(tuning.pass_rows);
        let caps = gpu.caps();
        let tuning = match caps.workgroup_bytes {
            ..UNITS_BYTES => Tuning { tile_rows: 64, ..tuning },
            _ => tuning,
        };
        let many = if limits.rows > pass_rows { limits.rows } else { 0 };
        let few = if has_few_units(units) { FEW_UNITS_ROWS } else { 0 };
        let (half_rows, normed_rows) = if units.is_some() { (many.max(few), 0) } else { (0, many) };
        Ok(Self {
            precision,
            tuning,
            limits,
            units,
            kernels: Mutex::default(),
            lattice: gpu.buffer_of("lattice", &words(&lattice))?,
            halves: gpu.buffer("half-precision activations", (2 * half_rows * limits.cols) as u64)?,
            normed: Rows::new(gpu, normed_rows, limits.normed_cols)?,
            no_norm: gpu.buffer("no norm", 16)?,
        })
    }

    /// Whether many rows go through matrix units, which take activations in half precision.
    pub(crate) fn has_units(&self) -> bool {
        self.units.is_some()
    }

    /// The input in front of `m` for `rows` rows at a time.
    pub(crate) fn input(&self, m: &Matrix, rows: usize) -> Input {
        Input::in_front_of(self.precision, m.format, m.shape.cols, rows, self.tuning.q8_0_bytes_from)
    }

    /// Matrix rows that a team takes at once, fewer where workgroups would be.
    pub(crate) fn team_rows(&self, caps: Caps, uses: &[Use]) -> u32 {
        self.team_rows_of(caps, uses, self.tuning.team_rows)
    }

    /// The same for a product of `rows` activation rows that ends with its sums. For a single one more teams are better: they have more under way.
    pub(crate) fn plain_team_rows(&self, caps: Caps, uses: &[Use], rows: usize) -> u32 {
        self.team_rows_of(caps, uses, if rows == 1 { 1 } else { self.tuning.team_rows })
    }

    fn team_rows_of(&self, caps: Caps, uses: &[Use], most: u32) -> u32 {
        // All rows of a team see the same group.
        let is_odd = |u: &Use| u.per_group < u.out && !u.per_group.is_multiple_of(most as usize);
        if uses.iter().any(is_odd) {
            return 1;
        }
        let rows: usize = uses.iter().map(|u| u.out).sum();
        let workgroups = rows as u32 * lanes(caps) / THREADS;
        let is_enough = |team_rows: &u32| workgroups / team_rows >= WORKGROUPS_LEAST;
        (0..=most.max(1).ilog2()).rev().map(|n| 1 << n).find(is_enough).unwrap_or(1)
    }

    /// What the kernel of these matrices is compiled with.
    pub(crate) fn lattice_copies(&self) -> u32 {
        self.tuning.lattice_copies
    }

    /// Tiles for about `rows` rows of each of `matrices` matrices with `out` rows.
    pub(crate) fn tile(&self, rows: usize, out: usize, matrices: usize) -> Tile {
        let Some(units) = self.units else {
            return Tile { out: 64, rows: TILE_ROWS_LEAST, units: None };
        };
        let fits = |(tile, _): &&(usize, usize)| {
            let workgroups = matrices * out.div_ceil(units.out) * rows.div_ceil(*tile);
            *tile <= self.tuning.tile_rows && 3 * rows > 2 * tile && workgroups as u32 >= WORKGROUPS_LEAST / 2
        };
        let found = units.tiles.iter().find(fits).or(units.tiles.last());
        let (rows, along_rows) = found.copied().unwrap_or((TILE_ROWS_LEAST, 1));
        Tile { out: units.out, rows, units: Some(along_rows) }
    }

    /// Most tiles of `slots` slots of `experts` experts, whatever their size.
    pub(crate) fn slot_tiles_most(slots: usize, experts: usize) -> usize {
        slots / TILE_ROWS_LEAST + experts
    }

    /// Arithmetic.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub(crate) fn lattice(&self) -> &Buffer {
        &self.lattice
    }

    /// Most rows of one pass over the weights.
    pub(crate) fn pass_rows(&self) -> usize {
        self.tuning.pass_rows
    }

    fn kernel(&self, key: Key, make: impl FnOnce(&Key) -> Result<Arc<Kernel>>) -> Result<Arc<Kernel>> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let kernel = make(&key)?;
        kernels.insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    fn check(&self, rows: usize, x: &Rows, is_normed: bool) -> Result<()> {
        let Limits { rows: most_rows, cols, normed_cols } = self.limits;
        if rows > most_rows {
            return Err(Error::TooManyRows { rows, most: most_rows });
        }
        let most = if is_normed { normed_cols } else { cols };
        if x.width > most {
            return Err(wrong(format!("activations of {} values, more than {most}", x.width)));
        }
        Ok(())
    }

    /// `out = W·x`, or `W·rmsnorm(x)` with the norm's weights and epsilon, for several matrices of one input. `x` stays as it is.
    ///
    /// # Errors
    /// Shapes do not fit, or a kernel does not compile.
    pub fn project(
        &self,
        gpu: &Gpu,
        rows: usize,
        x: &Rows,
        norm: Option<(&Vector, f32)>,
        out: &[(&Matrix, &Rows)],
    ) -> Result<()> {
        self.project_with(gpu, rows, x, norm, out, None)
    }

    /// The same where rows of the first matrix are for a [`Linear::project`] with the norm of these weights: that finds them as bytes.
    ///
    /// # Errors
    /// As [`Linear::project`].
    pub fn project_for_norm(
        &self,
        gpu: &Gpu,
        rows: usize,
        x: &Rows,
        next: &Vector,
        out: &[(&Matrix, &Rows)],
    ) -> Result<()> {
        self.project_with(gpu, rows, x, None, out, Some(next))
    }

    fn project_with(
        &self,
        gpu: &Gpu,
        rows: usize,
        x: &Rows,
        norm: Option<(&Vector, f32)>,
        out: &[(&Matrix, &Rows)],
        next: Option<&Vector>,
    ) -> Result<()> {
        self.check(rows, x, norm.is_some())?;
        if let Some((w, to)) = out.iter().find(|(w, to)| w.shape.cols != x.width || w.shape.rows > to.width) {
            let (shape, width) = (w.shape, to.width);
            return Err(wrong(format!("a matrix of {shape:?} from {} to {width} values", x.width)));
        }
        if rows == 0 || out.is_empty() {
            return Ok(());
        }
        if rows > self.pass_rows() {
            let x = self.tile_input(gpu, rows, x, norm)?;
            return out.iter().try_for_each(|(w, to)| self.tiles(gpu, rows, 1, w, x, w.shape.cols, to, None));
        }
        let uses: Vec<Use> =
            out.iter().map(|(w, to)| Use::new(w, self.input(w, rows), rows, x.width, to.width)).collect();
        if fits_few_units(self.units, rows, &uses) {
            let halves = self.tile_input(gpu, rows, x, norm)?;
            return self.few_units(gpu, rows, halves, &uses, out);
        }
        let emitters = |first: &Use| self.emitters(gpu.caps(), &uses, first.out, first.width);
        let next = next.filter(|next| rows <= EMITTED_FOR_NORM_MAX && next.len >= uses[0].out);
        let next = next.zip(uses.first().and_then(emitters));
        let ending = next.map_or(Ending::Plain, |(_, threads)| Ending::BytesForNorm(threads));
        self.pass(gpu, rows, Origin::Rows(x, norm), uses, out, ending, next.map(|(next, _)| next), None)
    }

    /// [`Linear::project_for_norm`] of the row that is collapsed at its beginning, if the device can do that; `false` where nothing was done.
    ///
    /// # Errors
    /// As [`Linear::project`].
    pub fn project_collapsed(
        &self,
        gpu: &Gpu,
        collapse: &Collapse<'_>,
        next: Option<&Vector>,
        out: &[(&Matrix, &Rows)],
    ) -> Result<bool> {
        let (caps, h) = (gpu.caps(), collapse.h());
        let uses: Vec<Use> = out.iter().map(|(w, to)| Use::new(w, self.input(w, 1), 1, h.width, to.width)).collect();
        let fits = out.iter().all(|(w, to)| w.shape.cols == h.width && w.shape.rows <= to.width);
        let Some(threads) = self.collapse_threads(caps, &uses, collapse.kind()).filter(|_| fits) else {
            return Ok(false);
        };
        let is_for_norm = |next: &&Vector| {
            let (n, width) = uses.first().map_or((0, 0), |first| (first.out, first.width));
            self.precision == Precision::Fast && n.is_multiple_of(16) && width.is_multiple_of(64) && next.len >= n
        };
        let next = next.filter(is_for_norm);
        let ending = if next.is_some() { Ending::BytesForNorm(threads) } else { Ending::Plain };
        self.pass(gpu, 1, Origin::Streams(collapse, threads), uses, out, ending, next, None)?;
        Ok(true)
    }

    /// Threads of the workgroups of a pass over `uses` that collapses at its beginning, if it can: each has the whole input in its memory.
    fn collapse_threads(&self, caps: Caps, uses: &[Use], collapse: CollapseKind) -> Option<u32> {
        let rows: u32 = uses.iter().map(|u| u.out as u32).sum();
        let threads = match caps.subgroup {
            Some(_) if rows * lanes(caps) / (4 * THREADS) >= COLLAPSE_WORKGROUPS_LEAST => 4 * THREADS,
            Some(_) => 2 * THREADS,
            None => THREADS,
        };
        let threads = threads.min(caps.workgroup_threads);
        let has = |input| uses.iter().any(|u| u.input == input);
        let bytes = collapse.workgroup_bytes(threads, has(Input::Float), has(Input::Bytes)) + COLLAPSE_BESIDE_BYTES;
        let buffers = COLLAPSE_BINDINGS + 2 * uses.len() + EMIT_BINDINGS;
        let can_emit = parts::can_emit(caps, uses.first()?.cols);
        let fits = bytes <= caps.workgroup_bytes
            && buffers <= BINDINGS_MAX.min(caps.buffers as usize)
            && !has_lattice(uses)
            && (can_emit || !has(Input::Bytes));
        fits.then_some(threads)
    }

    /// `y = W·x` of a matrix whose output is expanded next, and whether it was: few rows do that at their end.
    ///
    /// # Errors
    /// As [`Linear::project`].
    pub fn project_expanding(
        &self,
        gpu: &Gpu,
        rows: usize,
        x: &Rows,
        w: &Matrix,
        y: &Rows,
        expand: &Expand<'_>,
    ) -> Result<bool> {
        let w_use = Use::new(w, self.input(w, rows), rows, x.width, y.width);
        let fits = w.shape.cols == x.width && w.shape.rows == y.width;
        let stretch = self.stretch(gpu.caps(), &[w_use], rows, expand).filter(|_| fits);
        let Some(stretch) = stretch else {
            return self.project(gpu, rows, x, None, &[(w, y)]).map(|()| false);
        };
        self.check(rows, x, false)?;
        let from = Origin::Rows(x, None);
        self.pass(gpu, rows, from, vec![w_use], &[(w, y)], Ending::Expand(stretch), None, Some(expand))?;
        Ok(true)
    }

    /// How a pass of `rows` rows over `uses`, the first of which has all rows of the output, can expand it: where there are whole
    /// workgroups.
    pub(crate) fn stretch(&self, caps: Caps, uses: &[Use], rows: usize, expand: &Expand<'_>) -> Option<Stretch> {
        let is_large = caps.subgroup.is_some() && !has_lattice(uses);
        let threads = if is_large { self.tuning.expand_threads.min(caps.workgroup_threads) } else { THREADS };
        let team_rows = if rows == 1 { self.tuning.expand_team_rows } else { self.team_rows(caps, uses) };
        let dims = threads / lanes(caps) * team_rows;
        let is_few = (1..=self.tuning.expanded_rows.min(self.pass_rows())).contains(&rows);
        let is_whole =
            uses.first()?.out == expand.embd() && dims >= STRETCH_LEAST && expand.embd().is_multiple_of(dims as usize);
        // A thread expands one dim of one row at most.
        let has_threads = dims * rows as u32 <= threads;
        (is_few && is_whole && has_threads).then_some(Stretch { threads, team_rows, dims, is_f16: expand.is_f16() })
    }

    /// Threads of a workgroup of a pass that has whole blocks of the `n` values a row of its first matrix, so that they can leave as bytes.
    fn emitters(&self, caps: Caps, uses: &[Use], n: usize, width: usize) -> Option<u32> {
        if self.precision == Precision::Exact || !n.is_multiple_of(16) || !width.is_multiple_of(64) {
            return None;
        }
        let per_team = self.team_rows(caps, uses);
        let is_whole = |threads: &u32| (threads / lanes(caps) * per_team).is_multiple_of(16);
        // Where there are subgroups, workgroups may be larger.
        let is_large = caps.subgroup.is_some() && !has_lattice(uses) && caps.workgroup_threads >= 2 * THREADS;
        let larger = is_large.then_some(2 * THREADS);
        [Some(THREADS), larger].into_iter().flatten().find(is_whole)
    }

    /// Block-diagonal product: rows `g·n/groups …` of `w` see only group `g` of `x`.
    ///
    /// # Errors
    /// Shapes do not fit, or a kernel does not compile.
    pub fn project_grouped(
        &self,
        gpu: &Gpu,
        rows: usize,
        groups: usize,
        w: &Matrix,
        x: &Rows,
        out: &Rows,
    ) -> Result<()> {
        self.check(rows, x, false)?;
        let (n, cols) = (w.shape.rows, w.shape.cols);
        if !n.is_multiple_of(groups) || x.width != groups * cols || n > out.width {
            let (width, to) = (x.width, out.width);
            return Err(wrong(format!("a matrix of {:?} from {groups} groups of {width} to {to} values", w.shape)));
        }
        if rows == 0 {
            return Ok(());
        }
        if rows > self.pass_rows() {
            let width = x.width;
            let x = self.tile_input(gpu, rows, x, None)?;
            return self.tiles(gpu, rows, groups, w, x, width, out, None);
        }
        let w_use = Use { per_group: n / groups, ..Use::new(w, self.input(w, rows), rows, x.width, out.width) };
        if fits_few_units(self.units, rows, &[w_use]) {
            let halves = self.tile_input(gpu, rows, x, None)?;
            return self.few_units(gpu, rows, halves, &[w_use], &[(w, out)]);
        }
        // What these rows are for is another product.
        let ending = self.emitters(gpu.caps(), &[w_use], n, out.width).map_or(Ending::Plain, Ending::Bytes);
        self.pass(gpu, rows, Origin::Rows(x, None), vec![w_use], &[(w, out)], ending, None, None)
    }

    /// Rows in half precision times several matrices.
    fn few_units(&self, gpu: &Gpu, rows: usize, halves: &Buffer, uses: &[Use], out: &[(&Matrix, &Rows)]) -> Result<()> {
        let uses: Vec<Use> = uses.iter().map(|u| Use { input: Input::Float, ..*u }).collect();
        let mut buffers = vec![halves];
        for (w, to) in out {
            buffers.extend([&*w.buffer, &to.buffer]);
            to.written(0);
        }
        let grid = [uses.iter().map(few_units_workgroups).sum(), 1, 1];
        let kernel = self.kernel(Key::FewUnits { uses: uses.clone() }, |_| {
            let (source, constants) = few_units_source(self.precision, rows, &uses);
            source.build(gpu, "few on matrix units", &uses, 1, &constants)
        })?;
        gpu.dispatch(&kernel, &buffers, &[], grid)
    }

    /// All rows with one pass over the weights. Bytes are for the norm `next` if so, and what is expanded is so to `expand`.
    fn pass(
        &self,
        gpu: &Gpu,
        rows: usize,
        from: Origin<'_>,
        uses: Vec<Use>,
        out: &[(&Matrix, &Rows)],
        ending: Ending,
        next: Option<&Vector>,
        expand: Option<&Expand<'_>>,
    ) -> Result<()> {
        let caps = gpu.caps();
        let has = |input| uses.iter().any(|u| u.input == input);
        let (has_float, has_bytes) = (has(Input::Float), has(Input::Bytes));
        let (mut threads, mut per_team) = match ending {
            Ending::Plain => (THREADS, self.plain_team_rows(caps, &uses, rows)),
            Ending::Bytes(threads) | Ending::BytesForNorm(threads) => (threads, self.team_rows(caps, &uses)),
            Ending::Expand(stretch) => (stretch.threads, stretch.team_rows),
        };
        let mut buffers = Vec::with_capacity(16 + 2 * uses.len());
        let (mut norm_use, mut collapse_kind) = (NormUse::default(), None);
        match from {
            Origin::Rows(x, norm) => {
                let of_bytes = has_bytes && norm.is_some() && x.has_weighted(rows);
                if has_bytes && !of_bytes {
                    self.quantized(gpu, rows, x, norm)?;
                }
                let float_norm = norm.filter(|_| has_float);
                let eps = norm.filter(|_| float_norm.is_some() || of_bytes).map_or(0, |(_, eps)| eps.to_bits());
                norm_use = NormUse { of_floats: float_norm.is_some(), of_bytes, eps };
                if has_float {
                    buffers.push(&x.buffer);
                }
                if has_bytes {
                    buffers.push(x.bytes(gpu)?);
                }
                if let Some((norm, _)) = float_norm {
                    buffers.push(&norm.buffer);
                }
                if of_bytes {
                    buffers.push(x.sixteens(gpu)?);
                }
            }
            Origin::Streams(collapse, collapse_threads) => {
                collapse.bind(gpu, &mut buffers)?;
                // Teams enough for a block of sixteen values.
                (threads, per_team) = (collapse_threads, (16 * lanes(caps) / collapse_threads).max(1));
                collapse_kind = Some(collapse.kind());
            }
        }
        let grids: Vec<u32> = uses.iter().map(|u| (u.out as u32).div_ceil(threads / lanes(caps) * per_team)).collect();
        if has_lattice(&uses) {
            buffers.push(&self.lattice);
        }
        for (w, to) in out {
            buffers.extend([&*w.buffer, &to.buffer]);
            to.written(0);
        }
        match (ending, out.first(), next) {
            (Ending::Bytes(_), Some((_, to)), _) => {
                buffers.push(to.bytes(gpu)?);
                to.written(rows);
            }
            (Ending::BytesForNorm(_), Some((_, to)), Some(next)) => {
                buffers.extend([to.bytes(gpu)?, &next.buffer, to.sixteens(gpu)?]);
                to.written_for_norm(rows);
            }
            _ => {}
        }
        if let (Some(expand), Ending::Expand(stretch)) = (expand, ending) {
            expand.bind(stretch.dims, &mut buffers);
        }
        let workgroups: u32 = grids.iter().sum::<u32>() + u32::from(collapse_kind.is_some());
        let key = Key::Pass { uses, norm: norm_use, collapse: collapse_kind, ending };
        let kernel = self.kernel(key, |key| {
            let Key::Pass { uses, .. } = key else { return Err(wrong("another kernel".to_owned())) };
            self.pass_kernel(gpu, uses, norm_use, collapse_kind, (threads, per_team), &grids, ending)
        })?;
        gpu.dispatch(&kernel, &buffers, &[], [workgroups, 1, 1])
    }

    /// The first `rows` rows of `x`, normed if asked, are there as bytes afterwards.
    pub(crate) fn quantized(&self, gpu: &Gpu, rows: usize, x: &Rows, norm: Option<(&Vector, f32)>) -> Result<()> {
        if norm.is_none() && x.has_bytes(rows) {
            return Ok(());
        }
        x.written(if norm.is_none() { rows } else { 0 });
        let cols = x.width;
        let kernel = self.kernel(Key::Quantize { cols, is_normed: norm.is_some() }, |_| {
            let text = concat!(part!("block"), part!("quantize"));
            let constants = [
                ("WG", THREADS),
                ("SUBGROUP", parts::subgroup(gpu.caps())),
                ("X_COLS", cols as u32),
                ("NORM", u32::from(norm.is_some())),
            ];
            let text = format!("{}{text}", parts::sums(gpu.caps(), THREADS));
            gpu.kernel_of("quantize", &constants, &text)
        })?;
        let (weights, eps) = norm.map_or((&self.no_norm, 0.0), |(norm, eps)| (&norm.buffer, eps));
        gpu.dispatch(&kernel, &[&x.buffer, weights, x.bytes(gpu)?], &[eps.to_bits()], [rows as u32, 1, 1])
    }

    fn normalize(&self, gpu: &Gpu, rows: usize, x: &Rows, norm: &Vector, eps: f32) -> Result<&Buffer> {
        let kernel = self.kernel(Key::Normalize { cols: x.width }, |_| {
            let subgroup = ("SUBGROUP", parts::subgroup(gpu.caps()));
            let constants = [("WG", THREADS), subgroup, ("X_COLS", x.width as u32)];
            gpu.kernel("normalize", &constants, &[parts::sums(gpu.caps(), THREADS), part!("normalize")])
        })?;
        let to = &self.normed.buffer;
        gpu.dispatch(&kernel, &[&x.buffer, &norm.buffer, to], &[eps.to_bits()], [rows as u32, 1, 1])?;
        Ok(to)
    }

    /// `x`, normed if asked, as the tile kernels take it.
    pub(crate) fn tile_input<'a>(
        &'a self,
        gpu: &Gpu,
        rows: usize,
        x: &'a Rows,
        norm: Option<(&Vector, f32)>,
    ) -> Result<&'a Buffer> {
        match norm {
            _ if self.has_units() => self.halve(gpu, rows, x, norm),
            Some((norm, eps)) => self.normalize(gpu, rows, x, norm, eps),
            None => Ok(&x.buffer),
        }
    }

    fn halve(&self, gpu: &Gpu, rows: usize, x: &Rows, norm: Option<(&Vector, f32)>) -> Result<&Buffer> {
        let key = Key::Halve { cols: x.width, is_normed: norm.is_some() };
        let kernel = self.kernel(key, |_| {
            let constants = [
                ("WG", THREADS),
                ("SUBGROUP", parts::subgroup(gpu.caps())),
                ("X_COLS", x.width as u32),
                ("NORM", u32::from(norm.is_some())),
            ];
            gpu.kernel("halve", &constants, &[parts::sums(gpu.caps(), THREADS), part!("halve")])
        })?;
        let (weights, eps) = norm.map_or((&self.no_norm, 0.0), |(norm, eps)| (&norm.buffer, eps));
        let buffers = [&x.buffer, weights, &self.halves];
        gpu.dispatch(&kernel, &buffers, &[eps.to_bits()], [rows as u32, 1, 1])?;
        Ok(&self.halves)
    }

    /// Many rows, by tiles: rows of `groups` groups, or slots of experts. `x` is of [`tile_input`](Self::tile_input).
    pub(crate) fn tiles(
        &self,
        gpu: &Gpu,
        rows: usize,
        groups: usize,
        w: &Matrix,
        x: &Buffer,
        x_width: usize,
        out: &Rows,
        slots: Option<&Slots<'_>>,
    ) -> Result<()> {
        let tile = slots.map_or_else(|| self.tile(rows, w.shape.rows / groups, groups), |slots| slots.tile);
        let per_x = slots.map(|slots| slots.per_x);
        let mut w_use = Use::new(w, Input::Float, 1, x_width, out.width);
        w_use.out = w.shape.rows / groups;
        let key = Key::Tile { w: w_use, tile, slots: per_x };
        let kernel = self.kernel(key, |_| {
            let (source, constants) = tile_source(self.precision, w_use, self.units, tile, per_x, self.tuning.prefetch);
            source.build(gpu, "tiles", &[w_use], 1, &constants)
        })?;
        let mut buffers = vec![x];
        if let Some(slots) = slots {
            buffers.extend([slots.tiles, slots.order]);
        }
        if has_lattice(&[w_use]) {
            buffers.push(&self.lattice);
        }
        buffers.extend([&*w.buffer, &out.buffer]);
        out.written(0);
        let tiles = slots.map_or(rows.div_ceil(tile.rows) as u32, |slots| slots.count);
        let grid = [w_use.out.div_ceil(tile.out) as u32, tiles, groups as u32];
        gpu.dispatch(&kernel, &buffers, &[rows as u32], grid)
    }

    /// Row `ids[r]` of `table` to all streams of row `r` of `x`, whose width is a multiple of the table's. One u32 a row in `ids`.
    ///
    /// # Errors
    /// Shapes do not fit, or a kernel does not compile.
    pub fn embed(&self, gpu: &Gpu, rows: usize, ids: &Buffer, table: &Matrix, x: &Rows) -> Result<()> {
        let cols = table.shape.cols;
        if !x.width.is_multiple_of(cols) || x.width == 0 {
            return Err(wrong(format!("embeddings of {cols} values to rows of {}", x.width)));
        }
        let w = Use::new(table, Input::Float, 1, cols, x.width);
        let kernel = self.kernel(Key::Embed { w }, |_| {
            let mut source = Source::new(self.precision);
            source.bind("ids", "u32", false);
            source.add_matrices(&[w], Some("vec4<f32>"), None);
            source.add(part!("embed"));
            source.build(gpu, "embed", &[w], 1, &[("STREAMS", (x.width / cols) as u32)])
        })?;
        let mut buffers = vec![ids];
        if has_lattice(&[w]) {
            buffers.push(&self.lattice);
        }
        buffers.extend([&*table.buffer, &x.buffer]);
        x.written(0);
        let chunks = (cols / (4 * w.vectors())) as u32;
        gpu.dispatch(&kernel, &buffers, &[], [chunks.div_ceil(THREADS), rows as u32, 1])
    }

    fn pass_kernel(
        &self,
        gpu: &Gpu,
        uses: &[Use],
        norm: NormUse,
        collapse: Option<CollapseKind>,
        (threads, per_team): (u32, u32),
        grids: &[u32],
        ending: Ending,
    ) -> Result<Arc<Kernel>> {
        let has = |input| uses.iter().any(|u| u.input == input);
        let (has_float, has_bytes) = (has(Input::Float), has(Input::Bytes));
        let mut source = Source::new(self.precision);
        match collapse {
            Some(collapse) => collapse.add_to(&mut source, gpu.caps(), threads, has_float, has_bytes),
            None if has_float => source.bind("x", "vec4<f32>", false),
            None => {}
        }
        if has_bytes {
            if collapse.is_none() {
                source.bind("xq", "vec4<u32>", false);
            }
            source.add(part!("bytes"));
        }
        if norm.of_floats {
            source.bind("norm", "vec4<f32>", false);
        }
        if norm.of_bytes {
            source.bind("sixteens", "f32", false);
        }
        source.add_teams(gpu.caps());
        if has_float {
            source.add(if norm.of_floats { part!("input_norm") } else { part!("input") });
        }
        let mut before = "";
        if norm.of_bytes {
            source.add(part!("byte_factor"));
            before = "load_byte_factors(thread);";
        }
        source.add_matrices(uses, Some("f32"), Some(Teams { lanes: lanes(gpu.caps()), rows: per_team }));
        if let Ending::Bytes(threads) | Ending::BytesForNorm(threads) = ending {
            source.set_threads(threads);
            source.bind("bytes", "u32", true);
            source.add(part!("matvec_emit"));
            source.add_once(&parts::emit_quad(gpu.caps()));
        }
        let (keep, end) = match ending {
            Ending::Plain => ("", ""),
            Ending::Bytes(_) => {
                source.add(part!("emit_plain"));
                (KEEP, "emit_kept(group * KEPT, thread);")
            }
            Ending::BytesForNorm(_) => {
                source.bind("emit_norm", "f32", false);
                source.bind("sixteens", "f32", true);
                source.add(part!("emit_for_norm"));
                (KEEP, "emit_kept(group * KEPT, thread);")
            }
            Ending::Expand(stretch) => {
                stretch.add_to(&mut source, uses.first().map_or(0, |u| u.out));
                before = "load_streams(group.x, thread);";
                (KEEP, "expand_kept(group, thread);")
            }
        };
        let mut calls = String::new();
        let mut first = 0;
        if collapse.is_some() {
            calls.push_str("collapse_here(group.x == 0u, thread);\nif (group.x == 0u) { return; }\n");
            first = 1;
        }
        for (i, (u, n)) in uses.iter().zip(grids).enumerate() {
            let factor = match u.input {
                Input::Float if norm.of_floats => "norm_factor(r, thread)",
                Input::Bytes if norm.of_bytes => "byte_factors[r]",
                _ => "1.0",
            };
            let (keep, end) = if i == 0 { (keep, end) } else { ("", "") };
            let matvec = part!("matvec")
                .replace("KEEP", keep)
                .replace("EMIT", end)
                .replace("FACTOR", factor)
                .replace("ROW", "r");
            source.add(&matvec.replace('$', &i.to_string()));
            let end = first + n;
            calls.push_str(&format!("if (group.x < {end}u) {{ product_{i}(group.x - {first}u, thread); return; }}\n"));
            first = end;
        }
        source.add(&format!(
            "@compute @workgroup_size(WG)\n\
             fn main(\n\
             @builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) grid: vec3<u32>,\n\
             @builtin(local_invocation_index) thread: u32) {{\n\
             once = grid.z;\n\
             PREPARE\n{before}\n{calls}}}"
        ));
        let (batch, cols) = uses.first().map_or((1, 0), |u| (u.batch, u.x_width));
        let constants = [("R", batch as u32), ("RPT", per_team), ("X_COLS", cols as u32), ("EPS_BITS", norm.eps)];
        let first = uses.first().map_or(String::new(), |u| format!(" {}×{}", u.out, u.cols));
        let more = if uses.len() > 1 { format!(" and {} more", uses.len() - 1) } else { String::new() };
        source.build(gpu, &format!("pass{first}{more}"), uses, self.tuning.lattice_copies, &constants)
    }
}
