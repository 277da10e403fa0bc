//! Products of weight matrices with activation rows.

mod pass;

use super::hyper::{Collapse, CollapseKind, EXPANDED_ROWS_MAX, Expand};
use super::source::{Input, Source, THREADS, Use, has_lattice, lanes};
use super::units::{
    FEW_UNITS_ROWS, TILE_ROWS_LEAST, Tile, UNITS_BYTES, Units, few_units_source, few_units_workgroups, fits_few_units,
    has_few_units, tile_source,
};
use crate::device::Caps;
use crate::gpu::{Buffer, Gpu, Kernel, words};
use crate::parts;
use crate::rows::{BYTE_ROWS_MAX, Rows, Vector};
use crate::weights::Matrix;
use ds4_engine::Precision;
use ds4_engine::{Error, Result};
use ds4_quant::iq2_grid::GRID;
use pass::{Ending, NormUse, Origin};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most rows of a pass that [`Tuning`] may ask for: every number of rows has its own kernel.
const PASS_ROWS_MAX: usize = BYTE_ROWS_MAX;
/// Workgroups that a large device needs to be busy: two for each of its cores.
const WORKGROUPS_LEAST: u32 = 256;
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
}
