//! Attention over window and compressed rows (`spec/model.md` §9).

use super::compressor::Selection;
use crate::cache::{Pool, locked};
use crate::device::Caps;
use crate::gpu::{Buffer, Gpu, Kernel};
use crate::parts;
use crate::rows::{BYTE_ROWS_MAX, Rows, Vector};
use crate::shape::BLOCK;
use crate::step::StepData;
use ds4_engine::Precision;
use ds4_engine::kv::RowFormat;
use ds4_engine::{LayerKind, Result};
use std::sync::{Arc, Mutex};

const STEP: &str = include_str!("../kernels/attention/step.wgsl");
const ROUNDING: &str = include_str!("../kernels/attention/rounding.wgsl");
const ROUNDING_FOUR: &str = include_str!("../kernels/attention/rounding_four.wgsl");
const TWICE: &str = include_str!("../kernels/attention/twice.wgsl");
const PREPARE: &str = include_str!("../kernels/attention/prepare.wgsl");
const PREPARE_PLAIN: &str = include_str!("../kernels/attention/prepare_plain.wgsl");
const COMPRESS: &str = include_str!("../kernels/attention/compress.wgsl");
const COMPRESS_ONLY: &str = include_str!("../kernels/attention/compress_only.wgsl");
const INDEX: &str = include_str!("../kernels/attention/index.wgsl");
const INDEX_SCORE: &str = include_str!("../kernels/attention/index_score.wgsl");
const INDEX_SCORE_F32: &str = include_str!("../kernels/attention/index_score_f32.wgsl");
const TOP_K: &str = include_str!("../kernels/attention/top_k.wgsl");
const PREFIX: &str = include_str!("../kernels/attention/prefix.wgsl");
const PREFIX_SUBGROUP: &str = include_str!("../kernels/attention/prefix_subgroup.wgsl");
const ROWS_NATIVE: &str = include_str!("../kernels/attention/rows_native.wgsl");
const ROWS_UNROUNDED: &str = include_str!("../kernels/attention/rows_unrounded.wgsl");
const TEAM: &str = include_str!("../kernels/attention/team.wgsl");
const TEAM_SUBGROUP: &str = include_str!("../kernels/attention/team_subgroup.wgsl");
const ROTATE_BACK: &str = include_str!("../kernels/attention/rotate_back.wgsl");
const KEY_PLACE: &str = include_str!("../kernels/attention/key_place.wgsl");
const KEY_HALVES: &str = include_str!("../kernels/attention/key_halves.wgsl");
const ATTEND: &str = include_str!("../kernels/attention/attend.wgsl");
const MERGE: &str = include_str!("../kernels/attention/merge.wgsl");
const PART_ONE: &str = include_str!("../kernels/attention/part_one.wgsl");
const PART_MANY: &str = include_str!("../kernels/attention/part_many.wgsl");
const ATTEND_UNITS: &str = include_str!("../kernels/attention/attend_units.wgsl");
const UNITS16: &str = include_str!("../kernels/attention/units16.wgsl");
const WINDOW: &str = include_str!("../kernels/attention/window.wgsl");

/// Heads that a workgroup of the attention kernel works on; `HEADS_AT_ONCE` there.
const HEADS_AT_ONCE: usize = 4;
/// Threads of such a workgroup where teams are subgroups, and the teams it may have.
const ATTEND_THREADS: usize = 256;
const TEAMS_MIN: usize = 4;
const TEAMS_MAX: usize = 8;
/// Threads of a team without subgroups.
const LANES: usize = 32;
/// Workgroups that keep a large device busy: fewer rows than that have their keys split.
const GROUPS_WANTED: usize = 128;
/// The same for `attend_units.wgsl`, several of whose workgroups share a core.
const UNITS_GROUPS_WANTED: usize = 512;
/// Most rows whose heads are split among workgroups: more rows keep the device busy as they are, and decode each key once.
const UNITS_ROWS_FEW: usize = 16;
/// Keys of a team below which splitting does not pay.
const KEYS_MIN: usize = 4;
/// Most parts that keys are split into.
const SPLITS_MAX: usize = 64;
/// Width of the subgroups of `attend_units.wgsl`.
const UNITS_SUBGROUP: usize = 32;
/// Heads and dimensions that it splits evenly.
const UNITS_HEADS: usize = 16;
const UNITS_HEADS_MAX: usize = 64;
const UNITS_DIMS: usize = 128;
/// Keys of its tiles, rows of a product of its units, subgroups of a workgroup.
const UNITS_KEYS: usize = 32;
const UNITS_TILE: usize = 16;
const UNITS_SUBGROUPS: usize = 8;
/// Threads of the kernels that score and choose.
pub(super) const SCORE_THREADS: usize = 256;
const TOP_K_THREADS: usize = 1024;
/// The same on devices that may have no more.
const TOP_K_THREADS_PLAIN: usize = 256;

/// Kernels of layers of one kind.
pub(super) struct Kernels {
    pub(super) prepare: Arc<Kernel>,
    pub(super) index_score: Option<Arc<Kernel>>,
    pub(super) top_k: Option<Arc<Kernel>>,
    attend: Arc<Kernel>,
    /// On matrix units: all heads of a row, for many rows, and some, for few.
    attend_units: Option<[Arc<Kernel>; 2]>,
    merge: Arc<Kernel>,
    window: Arc<Kernel>,
}

impl Kernels {
    fn new(pool: &Pool, kind: LayerKind, units: Option<&'static str>, emits: bool) -> Result<Self> {
        let (gpu, shape) = (pool.gpu(), pool.shape());
        let (caps, threads) = (gpu.caps(), shape.threads());
        let base = shape.constants(kind);
        let with = |more: &[(&'static str, usize)]| -> Vec<(&'static str, u32)> {
            base.iter().copied().chain(more.iter().map(|(name, value)| (*name, *value as u32))).collect()
        };
        let rows = [("WG", threads), ("SUBGROUP", parts::subgroup(caps) as usize), ("MAXIMA", threads / 8)];
        let sums = parts::sums(caps, threads as u32);
        let mut prepare = vec![STEP, ROUNDING, parts::ONCE, ROUNDING_FOUR, sums, PREPARE];
        prepare.extend_from_slice(match kind {
            LayerKind::Sliding => &[PREPARE_PLAIN],
            LayerKind::Csa => &[COMPRESS, TWICE, INDEX],
            LayerKind::Hca => &[COMPRESS, COMPRESS_ONLY],
        });
        let (emit_width, emit) = (("EMIT_WIDTH", shape.heads * shape.layout.head_dim), parts::emit(emits));
        let is_native = shape.layout.format == RowFormat::Native;
        let score: &[&str] =
            if is_native { &[STEP, parts::ONCE, TWICE, INDEX_SCORE] } else { &[STEP, INDEX_SCORE_F32] };
        let stored = if is_native { ROWS_NATIVE } else { ROWS_UNROUNDED };
        let (lanes, teams, team) = Self::teams(caps);
        let part = if shape.layout.head_dim / BLOCK <= lanes { PART_ONE } else { PART_MANY };
        let has_index = kind == LayerKind::Csa;
        let width = parts::subgroup(caps) as usize;
        let (choosers, prefix) = match caps.subgroup {
            Some(_) => (TOP_K_THREADS, PREFIX_SUBGROUP),
            None => (TOP_K_THREADS_PLAIN, PREFIX),
        };
        let indexer = |name, threads, parts: &[&'static str]| -> Result<Option<Arc<Kernel>>> {
            has_index.then(|| gpu.kernel(name, &with(&[("WG", threads), ("SUBGROUP", width)]), parts)).transpose()
        };
        Ok(Self {
            prepare: gpu.kernel("prepare", &with(&rows), &prepare)?,
            index_score: indexer("index_score", SCORE_THREADS, score)?,
            top_k: indexer("top_k", choosers, &[STEP, parts::ONCE, prefix, TOP_K])?,
            attend: gpu.kernel(
                "attend",
                &with(&[("LANES", lanes), ("TEAMS", teams), emit_width, ("EMIT_BINDING", 8)]),
                &[STEP, stored, team, ROTATE_BACK, part, KEY_PLACE, ATTEND, emit],
            )?,
            attend_units: units
                .map(|units| {
                    let parts = [STEP, KEY_PLACE, parts::ONCE, KEY_HALVES, ATTEND_UNITS, units];
                    let of = |heads: usize, is_few: usize| {
                        // Subgroups that share a tile of the scores, and how many of its blocks of dimensions each takes at a time.
                        let sharers = (UNITS_SUBGROUPS * UNITS_TILE * UNITS_TILE / (heads * UNITS_KEYS)).max(1);
                        let blocks = shape.layout.head_dim / UNITS_TILE / sharers;
                        let step = if blocks.is_multiple_of(8) { 8 } else { blocks };
                        let own = [("LANES", UNITS_SUBGROUP), ("HEADS_HERE", heads), ("SHARERS", sharers)];
                        let own = with(&[own[0], own[1], own[2], ("SCORE_STEP", step), ("IS_FEW", is_few)]);
                        gpu.kernel("attend_units", &own, &parts)
                    };
                    Ok::<_, ds4_engine::Error>([of(shape.heads, 0)?, of(UNITS_HEADS, 1)?])
                })
                .transpose()?,
            merge: gpu.kernel(
                "merge",
                &with(&[rows[0], emit_width, ("EMIT_BINDING", 4), ("SPLITS_MAX", SPLITS_MAX)]),
                &[parts::ONCE, ROTATE_BACK, MERGE, emit],
            )?,
            window: gpu.kernel("window", &with(&rows), &[STEP, ROUNDING, parts::ONCE, ROUNDING_FOUR, WINDOW])?,
        })
    }

    /// Threads of a team, teams of a workgroup, and how a team adds up.
    fn teams(caps: Caps) -> (usize, usize, &'static str) {
        match caps.subgroup {
            Some(width) => {
                let lanes = width as usize;
                (lanes, (ATTEND_THREADS / lanes).clamp(TEAMS_MIN, TEAMS_MAX), TEAM_SUBGROUP)
            }
            None => (LANES, 1, TEAM),
        }
    }
}

/// Compressors, indexer and attention of all layers.
pub struct Attention {
    pub(super) pool: Arc<Pool>,
    /// By [`slot_of`].
    kinds: [Option<Kernels>; 3],
    /// Whether heads leave as bytes too.
    emits: bool,
    /// Norms and biases of each layer in one buffer, joined at first use.
    pub(super) norms: Mutex<Vec<Option<Arc<Buffer>>>>,
    /// Sums of parts of keys; and what is bound where a kernel has nothing to read.
    partial: Mutex<Arc<Buffer>>,
    pub(super) nothing: Buffer,
}

/// Whether the rows and heads of the model and the workgroup memory of the device suit `attend_units.wgsl`. Unrounded rows are not F16.
fn fits_units(pool: &Pool) -> bool {
    let (heads, d) = (pool.shape().heads, pool.shape().layout.head_dim);
    let is_even = heads.is_multiple_of(UNITS_HEADS) && heads <= UNITS_HEADS_MAX && d.is_multiple_of(UNITS_DIMS);
    // Keys, scores, weights, what is kept of threads, heads and places.
    let bytes = UNITS_KEYS * 2 * (d + 8) + 4 * (heads * UNITS_KEYS).max(2048) + 2 * heads * (UNITS_KEYS + 8) + 1584;
    pool.shape().layout.format == RowFormat::Native && is_even && bytes <= pool.gpu().caps().workgroup_bytes as usize
}

fn slot_of(kind: LayerKind) -> usize {
    match kind {
        LayerKind::Sliding => 0,
        LayerKind::Csa => 1,
        LayerKind::Hca => 2,
    }
}

impl Attention {
    /// Compiles what the layers of `pool` need. Matrix units, which take F16, are for fast mode.
    ///
    /// # Errors
    /// A kernel does not compile on the device.
    pub fn new(pool: Arc<Pool>, precision: Precision) -> Result<Self> {
        let caps = pool.gpu().caps();
        let has_units = precision == Precision::Fast && caps.matrix16 && caps.subgroup == Some(UNITS_SUBGROUP as u32);
        Self::with_units(pool, precision, has_units.then_some(UNITS16))
    }

    /// The same with the products of matrix units that this text has, for tests of the kernel around them.
    ///
    /// # Errors
    /// A kernel does not compile on the device.
    pub fn with_units(pool: Arc<Pool>, precision: Precision, units: Option<&'static str>) -> Result<Self> {
        let units = units.filter(|_| fits_units(&pool));
        let (heads, d) = (pool.shape().heads, pool.shape().layout.head_dim);
        let can_emit = d.is_multiple_of(32) && parts::can_emit(pool.gpu().caps(), heads * d);
        let emits = precision == Precision::Fast && can_emit;
        let mut kinds = [None, None, None];
        for layer in &pool.shape().layout.layers {
            let slot = &mut kinds[slot_of(layer.kind)];
            if slot.is_none() {
                *slot = Some(Kernels::new(&pool, layer.kind, units, emits)?);
            }
        }
        let norms = Mutex::new(pool.shape().layout.layers.iter().map(|_| None).collect());
        let partial = Mutex::new(Arc::new(pool.gpu().buffer("parts of attention", 16)?));
        let nothing = pool.gpu().buffer("nothing", 16)?;
        Ok(Self { kinds, emits, norms, partial, nothing, pool })
    }

    /// The device.
    pub(super) fn gpu(&self) -> &Gpu {
        self.pool.gpu()
    }

    pub(super) fn kind(&self, il: usize) -> LayerKind {
        self.pool.shape().layout.layers[il].kind
    }

    pub(super) fn kernels(&self, il: usize) -> Result<&Kernels> {
        let kernels = self.kinds[slot_of(self.kind(il))].as_ref();
        kernels.ok_or_else(|| ds4_engine::Error::Device("its kernels are those of another model".to_owned()))
    }

    /// Whether attention runs on matrix units.
    pub(super) fn uses_units(&self, il: usize) -> Result<bool> {
        Ok(self.kernels(il)?.attend_units.is_some())
    }

    /// First word of the angles of a layer's rows.
    pub(super) fn angles(&self, step: &StepData, il: usize) -> u32 {
        step.angles[usize::from(self.kind(il) != LayerKind::Sliding)]
    }

    /// §9: `q` becomes the outputs of its heads, and the latent rows `kv` of longer segments enter the window. Those of short ones entered
    /// it in [`Attention::prepare`].
    ///
    /// # Errors
    /// Out of memory.
    pub fn attend(
        &self,
        step: &StepData,
        il: usize,
        sinks: &Vector,
        q: &Rows,
        kv: &Rows,
        selection: Option<&Selection>,
    ) -> Result<()> {
        let (gpu, kernels, shape) = (self.gpu(), self.kernels(il)?, self.pool.shape());
        let layers = self.pool.layers();
        let memory = &layers[il];
        let chosen = selection.and_then(Selection::chosen);
        let angles = self.angles(step, il);
        let is_selected = u32::from(chosen.is_some());
        let keys =
            [&kv.buffer, &step.data, &memory.frontier, &memory.arena, chosen.unwrap_or(&self.nothing), &sinks.buffer];
        let is_many = step.rows > UNITS_ROWS_FEW;
        let units = kernels.attend_units.as_ref().map(|[all, some]| if is_many { all } else { some });
        let groups = match units {
            Some(_) if is_many => 1,
            Some(_) => shape.heads / UNITS_HEADS,
            None => shape.heads.div_ceil(HEADS_AT_ONCE),
        };
        let splits = self.splits(step, il, groups, chosen.is_some(), units.is_some());
        let are_joined = splits > 1 || units.is_some() && !is_many;
        let partial = self.partial(if are_joined { step.rows * splits } else { 0 })?;
        // Only what is joined from parts, or comes from the kernel of few rows, leaves as bytes too.
        let emits = self.emits && step.rows <= BYTE_ROWS_MAX && (units.is_none() || are_joined);
        let bytes = if self.emits { Some(q.bytes(gpu)?) } else { None };
        q.written(if emits { step.rows } else { 0 });
        match units {
            Some(kernel) => {
                let mut buffers = vec![&q.buffer, &q.buffer];
                buffers.extend(keys);
                buffers.push(&partial);
                let grid = [step.rows as u32, splits as u32, groups as u32];
                let args = [is_selected, angles, splits as u32, (1.0 / splits as f32).to_bits()];
                gpu.dispatch(kernel, &buffers, &args, grid)?;
            }
            None => {
                let mut buffers = vec![&q.buffer];
                buffers.extend(keys);
                buffers.push(&partial);
                buffers.extend(bytes);
                let grid = [(groups * splits) as u32, step.rows as u32, 1];
                gpu.dispatch(&kernels.attend, &buffers, &[splits as u32, is_selected, angles, u32::from(emits)], grid)?;
            }
        }
        if are_joined {
            let mut buffers = vec![&q.buffer, &step.data, &sinks.buffer, &partial];
            buffers.extend(bytes);
            let grid = [shape.heads as u32, step.rows as u32, 1];
            gpu.dispatch(&kernels.merge, &buffers, &[splits as u32, angles, u32::from(emits)], grid)?;
        }
        self.enter_window(step, il, kv, &memory.frontier)
    }

    /// The latent rows of longer segments enter the window.
    fn enter_window(&self, step: &StepData, il: usize, kv: &Rows, frontier: &Buffer) -> Result<()> {
        if step.is_short {
            return Ok(());
        }
        let grid = [step.rows as u32, 1, 1];
        self.gpu().dispatch(&self.kernels(il)?.window, &[&kv.buffer, &step.data, frontier], &[], grid)
    }

    /// Parts that the keys of each row are split into.
    fn splits(&self, step: &StepData, il: usize, groups: usize, is_selected: bool, has_units: bool) -> usize {
        let layout = &self.pool.shape().layout;
        let last = step.positions.iter().max().copied().unwrap_or(0);
        let compressed = layout.layers[il].kind.ratio().map_or(0, |ratio| (last + 1) / ratio);
        let compressed = if is_selected { compressed.min(self.pool.shape().top_k) } else { compressed };
        let keys = (last + 1).min(layout.window) + compressed;
        let (_, teams, _) = Kernels::teams(self.gpu().caps());
        let (wanted, most) = match has_units {
            true => (UNITS_GROUPS_WANTED, keys.div_ceil(UNITS_KEYS)),
            false => (GROUPS_WANTED, keys / (KEYS_MIN * teams)),
        };
        let wanted = wanted.div_ceil(groups * step.rows.max(1));
        wanted.min(most).clamp(1, SPLITS_MAX)
    }

    /// Memory for `parts` parts of all heads.
    fn partial(&self, parts: usize) -> Result<Arc<Buffer>> {
        let shape = self.pool.shape();
        let bytes = (16 * parts * shape.heads * (shape.layout.head_dim / 4 + 1)) as u64;
        let mut partial = locked(&self.partial);
        if partial.bytes() < bytes {
            *partial = Arc::new(self.gpu().buffer("parts of attention", bytes.next_power_of_two())?);
            self.gpu().forget_groups();
        }
        Ok(Arc::clone(&partial))
    }
}
