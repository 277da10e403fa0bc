//! Routed and shared experts (`spec/model.md` §10): y = Σ_i w_i·E_i(h) + S(h) with E(h) = down·(silu(min(gate·h, c)) ⊙ clamp(up·h, ±c)).

use super::hyper::{Expand, Stretch};
use super::linear::{Linear, Slots};
use super::route::{self, Router};
use super::source::{Input, Source, THREADS, Teams, Use, has_lattice, lanes};
use super::units::Tile;
use crate::device::Caps;
use crate::gpu::{Buffer, Gpu, Kernel};
use crate::parts;
use crate::rows::{BYTE_UNITS, Rows};
use crate::weights::Matrix;
use ds4_engine::{Error, Precision, Result};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Hidden values of a slot that one workgroup computes.
const MID_STRETCH: u32 = 32;
/// Hidden values of the shared expert that one workgroup computes at least; values that share a scale as bytes.
const SHARED_STRETCH: u32 = 16;
/// Most rows whose slots find their expert themselves: each of their workgroups does it again, which many rows pay for.
const CHOOSE_ROWS_MAX: usize = 2;
/// Most rows that a workgroup multiplies by the shared expert's matrices: its code has all of them in it, and others work meanwhile.
const SHARED_ROWS: usize = 4;
/// Most rows that are expanded where down is multiplied.
pub(crate) const DOWN_EXPANDED_ROWS_MAX: usize = 2;
/// Most workgroups along one axis of a grid.
const GRID_MAX: usize = 65535;

macro_rules! part {
    ($name:literal) => {
        include_str!(concat!("../kernels/experts/", $name, ".wgsl"))
    };
}

/// Expert matrices of one layer.
pub struct ExpertWeights<'a> {
    /// Routed gates, all experts.
    pub gate: &'a Matrix,
    /// Routed ups, all experts.
    pub up: &'a Matrix,
    /// Routed downs, all experts.
    pub down: &'a Matrix,
    /// Shared gate.
    pub shared_gate: &'a Matrix,
    /// Shared up.
    pub shared_up: &'a Matrix,
    /// Shared down.
    pub shared_down: &'a Matrix,
}

/// The largest sizes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExpertLimits {
    /// Rows.
    pub rows: usize,
    /// Experts a row uses.
    pub used: usize,
    /// Routed experts.
    pub experts: usize,
    /// Hidden values of an expert.
    pub ff: usize,
    /// Inputs and outputs of an expert.
    pub embd: usize,
}

/// What the choice of experts inside a kernel is compiled with.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Choice {
    constants: [(&'static str, u32); 5],
    scale: u32,
}

#[derive(PartialEq, Eq, Hash)]
enum Key {
    Shared { rows: usize, uses: Vec<Use>, emits: bool, clamp: u32 },
    GateUp { uses: Vec<Use>, emits: bool, clamps: [u32; 2], chooses: Option<Choice> },
    Down { rows: usize, uses: [Use; 2], stretch: Option<Stretch> },
    Sort,
    Tiles { rows: usize },
    Activate { is_routed: bool },
    Gather,
}

/// Kernels and scratch memory for the experts of any layer.
pub struct Experts {
    limits: ExpertLimits,
    kernels: Mutex<HashMap<Key, Arc<Kernel>>>,
    /// Few rows: hidden values of all slots and then of the shared expert's rows, as f32 and as bytes.
    mid: Rows,
    mid_bytes: Buffer,
    /// Many rows: gates, ups, hidden values (in half precision for matrix units) and results of all slots, then of the shared expert.
    gate: Rows,
    up: Rows,
    hidden: Buffer,
    down: Rows,
    shared_gate: Rows,
    shared_up: Rows,
    shared_hidden: Buffer,
    shared_down: Rows,
    order: Buffer,
    spans: Buffer,
    tiles: Buffer,
}

/// Binds what `uses` multiply.
fn add_inputs(source: &mut Source, uses: &[Use]) {
    let has = |input| uses.iter().any(|u| u.input == input);
    if has(Input::Float) {
        source.bind("x", "vec4<f32>", false);
        source.add(include_str!("../kernels/linear/input.wgsl"));
    }
    if has(Input::Bytes) {
        source.bind("xq", "vec4<u32>", false);
        source.add(include_str!("../kernels/linear/bytes.wgsl"));
    }
}

/// Binds hidden values as bytes, if they are wanted so.
fn add_emit(source: &mut Source, caps: Caps, emits: bool) {
    if emits {
        source.bind("bytes", "u32", true);
        source.add(include_str!("../kernels/linear/emit_plain.wgsl"));
        source.add_once(&parts::emit_quad(caps));
    }
}

impl Experts {
    /// Scratch memory for steps of these sizes.
    ///
    /// # Errors
    /// Out of memory.
    pub fn new(gpu: &Gpu, linear: &Linear, limits: ExpertLimits) -> Result<Self> {
        let ExpertLimits { rows, used, experts, ff, embd } = limits;
        let few = rows.min(linear.pass_rows());
        let bytes = |rows: usize, cols: usize| (rows * cols.div_ceil(64) * BYTE_UNITS * 16) as u64;
        // Rows that never come need no memory.
        let many = if rows > few { rows } else { 0 };
        let slots = many * used;
        let hidden_bytes = if linear.has_units() { 2 } else { 4 };
        let hidden = |slots: usize| gpu.buffer("hidden values", (hidden_bytes * slots * ff) as u64);
        Ok(Self {
            limits,
            kernels: Mutex::default(),
            mid: Rows::new(gpu, few * (used + 1), ff)?,
            mid_bytes: gpu.buffer("quantised activations", bytes(few * (used + 1), ff))?,
            gate: Rows::new(gpu, slots, ff)?,
            up: Rows::new(gpu, slots, ff)?,
            hidden: hidden(slots)?,
            down: Rows::new(gpu, slots, embd)?,
            shared_gate: Rows::new(gpu, many, ff)?,
            shared_up: Rows::new(gpu, many, ff)?,
            shared_hidden: hidden(many)?,
            shared_down: Rows::new(gpu, many, embd)?,
            order: gpu.buffer("expert slots", 4 * slots as u64)?,
            spans: gpu.buffer("expert slots", 8 * experts as u64)?,
            tiles: gpu.buffer("expert tiles", 16 * Linear::slot_tiles_most(slots, experts) as u64)?,
        })
    }

    fn kernel(&self, key: Key, make: impl FnOnce() -> Result<Arc<Kernel>>) -> Result<Arc<Kernel>> {
        let mut kernels = self.kernels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kernel) = kernels.get(&key) {
            return Ok(Arc::clone(kernel));
        }
        let kernel = make()?;
        kernels.insert(key, Arc::clone(&kernel));
        Ok(kernel)
    }

    fn check(&self, rows: usize, w: &ExpertWeights<'_>, h: &Rows, y: &Rows) -> Result<()> {
        let ExpertLimits { rows: most, experts, ff, embd, .. } = self.limits;
        if rows > most {
            return Err(Error::TooManyRows { rows, most });
        }
        let fits = |m: &Matrix, rows, cols, count| (m.shape.rows, m.shape.cols, m.shape.count) == (rows, cols, count);
        let all_fit = [(w.gate, experts), (w.up, experts), (w.shared_gate, 1), (w.shared_up, 1)]
            .into_iter()
            .all(|(m, count)| fits(m, ff, embd, count))
            && fits(w.down, embd, ff, experts)
            && fits(w.shared_down, embd, ff, 1)
            && h.width == embd
            && y.width == embd;
        let wrong = || Error::Device(format!("expert matrices are not of {ff}×{embd}, {experts} in all"));
        if all_fit { Ok(()) } else { Err(wrong()) }
    }

    /// `y = Σ_i w_i·E_i(h) + S(h)`. `routes` holds (expert, bits of the f32 weight) of each row's slots; every expert must exist. `clamps` are those of
    /// the routed and of the shared experts.
    ///
    /// # Errors
    /// Shapes do not fit, or a kernel does not compile.
    pub fn run(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        clamps: (f32, f32),
        w: &ExpertWeights<'_>,
        h: &Rows,
        routes: &Buffer,
        y: &Rows,
    ) -> Result<()> {
        self.run_with(gpu, linear, rows, clamps, w, h, None, routes, y, None).map(|_| ())
    }

    /// The same with the experts that `router` chooses, which `routes` holds afterwards. Where `y` is expanded next, few rows do that at their
    /// end: whether they did is returned.
    ///
    /// # Errors
    /// As [`Experts::run`].
    pub fn run_routed(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        clamps: (f32, f32),
        w: &ExpertWeights<'_>,
        h: &Rows,
        router: &Router<'_>,
        routes: &Buffer,
        y: &Rows,
        expand: Option<&Expand<'_>>,
    ) -> Result<bool> {
        let ExpertLimits { experts, embd, .. } = self.limits;
        let shape = router.matrix.shape;
        if (shape.rows, shape.cols, shape.count) != (experts, embd, 1) || router.z.width != experts {
            return Err(Error::Device(format!("a router of {shape:?}, not of {experts} experts of {embd} values")));
        }
        self.run_with(gpu, linear, rows, clamps, w, h, Some(router), routes, y, expand)
    }

    fn run_with(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        clamps: (f32, f32),
        w: &ExpertWeights<'_>,
        h: &Rows,
        router: Option<&Router<'_>>,
        routes: &Buffer,
        y: &Rows,
        expand: Option<&Expand<'_>>,
    ) -> Result<bool> {
        self.check(rows, w, h, y)?;
        if rows == 0 {
            return Ok(false);
        }
        if rows > linear.pass_rows() {
            if let Some(router) = router {
                if !router.has_logits {
                    linear.project(gpu, rows, h, None, &[(router.matrix, router.z)])?;
                }
                self.choose(gpu, linear.precision(), rows, router, routes)?;
            }
            return self.many(gpu, linear, rows, clamps, w, h, routes, y).map(|()| false);
        }
        let down = [(w.down, 1, 1), (w.shared_down, rows, rows.min(SHARED_ROWS))]
            .map(|(m, rows, batch)| Use::new(m, linear.input(m, rows), batch, m.shape.cols, self.limits.embd));
        let emits = down.iter().any(|u| u.input == Input::Bytes);
        let has_logits = router.is_some_and(|router| router.has_logits);
        let is_beside = has_logits && self.fits_beside(linear, rows, w);
        if !is_beside {
            self.shared_few(gpu, linear, rows, clamps.1, w, h, router.filter(|_| !has_logits), emits)?;
        }
        let can_choose = rows <= CHOOSE_ROWS_MAX && route::choosers(gpu.caps(), self.limits.used).is_some();
        if let Some(router) = router.filter(|_| !can_choose) {
            self.choose(gpu, linear.precision(), rows, router, routes)?;
        }
        self.gate_up_few(gpu, linear, rows, clamps, w, h, router.filter(|_| can_choose), routes, emits, is_beside)?;
        let expand = expand.filter(|_| rows <= DOWN_EXPANDED_ROWS_MAX);
        self.down_few(gpu, linear, rows, down, w, routes, y, expand)
    }

    /// Whether the shared expert's gate and up go beside the routed ones: of a single row, which waits for memory and for arithmetic in turns
    /// otherwise, where nothing else has to be done for their input.
    fn fits_beside(&self, linear: &Linear, rows: usize, w: &ExpertWeights<'_>) -> bool {
        let matrices = [w.gate, w.up, w.shared_gate, w.shared_up];
        let inputs = matrices.map(|m| linear.input(m, 1));
        rows == 1 && inputs.iter().all(|input| *input == inputs[0])
    }

    fn choose(&self, gpu: &Gpu, precision: Precision, rows: usize, router: &Router<'_>, routes: &Buffer) -> Result<()> {
        let sizes = (self.limits.experts, self.limits.used);
        route::route(gpu, precision, sizes, rows, &router.routing, router.z, router.ids, router.scale, routes)
    }

    /// The shared expert's hidden values, and the router's logits.
    fn shared_few(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        clamp: f32,
        w: &ExpertWeights<'_>,
        h: &Rows,
        router: Option<&Router<'_>>,
        emits: bool,
    ) -> Result<()> {
        let ExpertLimits { ff, embd, experts, .. } = self.limits;
        let together = rows.min(SHARED_ROWS);
        let a_use = |m: &Matrix, width| Use::new(m, linear.input(m, rows), together, embd, width);
        let mut uses = vec![a_use(w.shared_gate, ff), a_use(w.shared_up, ff)];
        uses.extend(router.map(|router| a_use(router.matrix, experts)));
        let mut buffers = self.inputs(gpu, linear, rows, &uses, h)?;
        buffers.push(&self.mid.buffer);
        if emits {
            buffers.push(&self.mid_bytes);
        }
        if has_lattice(&uses) {
            buffers.push(linear.lattice());
        }
        buffers.extend([&*w.shared_gate.buffer, &*w.shared_up.buffer]);
        if let Some(router) = router {
            router.z.written(0);
            buffers.extend([&*router.matrix.buffer, &router.z.buffer]);
        }
        // A single row is about latency: as many teams as possible read at once.
        let is_wide = rows == 1 && gpu.caps().subgroup.is_some() && !has_lattice(&uses);
        let threads = if is_wide { 2 * THREADS } else { THREADS };
        let teams = threads / lanes(gpu.caps());
        let per_team = (SHARED_STRETCH / teams).max(1);
        let stretches = (ff as u32).div_ceil(teams * per_team);
        let logits = router.map_or(0, |_| (experts as u32).div_ceil(teams * per_team));
        let clamp = clamp.to_bits();
        let key = Key::Shared { rows, uses: uses.clone(), emits, clamp };
        let kernel = self.kernel(key, || {
            let mut source = Source::new(linear.precision());
            source.set_threads(threads);
            add_inputs(&mut source, &uses);
            source.bind("mid", "f32", true);
            add_emit(&mut source, gpu.caps(), emits);
            source.add_teams(gpu.caps());
            source.add_matrices(&uses, None, Some(Teams { lanes: lanes(gpu.caps()), rows: per_team }));
            source.add(parts::math(linear.precision()));
            source.add(part!("swiglu"));
            let emit = if emits { part!("shared_emit") } else { "" };
            let call = match router {
                Some(_) => {
                    source.bind("out_2", "f32", true);
                    let product = include_str!("../kernels/linear/matvec.wgsl");
                    let product = product.replace("KEEP", "").replace("EMIT", "").replace("FACTOR", "1.0");
                    let product = product.replace("ROW", "row_of(r)");
                    source.add(&product.replace('$', "2"));
                    "product_2(group.x - STRETCHES, thread);"
                }
                None => "",
            };
            source.add(&part!("shared").replace("EMIT", emit).replace("ROUTER", call));
            let constants = [
                ("ROWS", rows as u32),
                ("R", together as u32),
                ("RPT", per_team),
                ("KEPT", teams * per_team),
                ("STRETCHES", stretches),
                ("USED", self.limits.used as u32),
                ("FF", ff as u32),
                ("MOST_BITS", clamp),
            ];
            source.build(gpu, "shared expert and router", &uses, linear.lattice_copies(), &constants)
        })?;
        gpu.dispatch(&kernel, &buffers, &[], [stretches + logits, rows.div_ceil(together) as u32, 1])
    }

    /// `h` as the kernels of `uses` take it.
    fn inputs<'a>(
        &'a self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        uses: &[Use],
        h: &'a Rows,
    ) -> Result<Vec<&'a Buffer>> {
        let has = |input| uses.iter().any(|u| u.input == input);
        let mut buffers = Vec::with_capacity(16);
        if has(Input::Float) {
            buffers.push(&h.buffer);
        }
        if has(Input::Bytes) {
            linear.quantized(gpu, rows, h, None)?;
            buffers.push(h.bytes(gpu)?);
        }
        Ok(buffers)
    }

    /// The routed experts' hidden values, and beside them the shared one's if so.
    fn gate_up_few(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        clamps: (f32, f32),
        w: &ExpertWeights<'_>,
        h: &Rows,
        router: Option<&Router<'_>>,
        routes: &Buffer,
        emits: bool,
        is_beside: bool,
    ) -> Result<()> {
        let ExpertLimits { used, ff, embd, experts, .. } = self.limits;
        let mut matrices = vec![w.gate, w.up];
        if is_beside {
            matrices.extend([w.shared_gate, w.shared_up]);
        }
        let uses: Vec<Use> = matrices.iter().map(|m| Use::new(m, linear.input(m, 1), 1, embd, ff)).collect();
        let mut buffers = self.inputs(gpu, linear, rows, &uses, h)?;
        if let Some(router) = router {
            buffers.extend(router.routing.buffers(router.z, router.ids));
        }
        buffers.extend([routes, &self.mid.buffer]);
        if emits {
            buffers.push(&self.mid_bytes);
        }
        if has_lattice(&uses) {
            buffers.push(linear.lattice());
        }
        buffers.extend(matrices.iter().map(|m| &*m.buffer));
        let chooses = router.map(|router| Choice {
            constants: router.routing.constants(experts, used, lanes(gpu.caps())),
            scale: router.scale.to_bits(),
        });
        let clamps = [clamps.0.to_bits(), clamps.1.to_bits()];
        // The stretch is a multiple of what the teams of a workgroup do at once.
        let teams = THREADS / lanes(gpu.caps());
        let per_team = linear.team_rows(gpu.caps(), &uses[..2]).min(MID_STRETCH / teams).max(1);
        let shared_stretch = (teams * per_team).max(SHARED_STRETCH);
        let beside = if is_beside { MID_STRETCH / shared_stretch } else { 0 };
        let key = Key::GateUp { uses: uses.clone(), emits, clamps, chooses };
        let kernel = self.kernel(key, || {
            let mut source = Source::new(linear.precision());
            add_inputs(&mut source, &uses);
            source.add(parts::math(linear.precision()));
            let route = match chooses {
                Some(_) => {
                    [("z", "f32"), ("bias", "f32"), ("ids", "u32"), ("table", "u32")]
                        .into_iter()
                        .for_each(|(name, of)| source.bind(name, of, false));
                    source.add(route::CHOOSE_SUBGROUP);
                    part!("route_here")
                }
                None => "let route = routes[slot];",
            };
            source.bind("routes", "vec2<u32>", chooses.is_some());
            source.bind("mid", "f32", true);
            add_emit(&mut source, gpu.caps(), emits);
            source.add_teams(gpu.caps());
            source.add_matrices(&uses, None, Some(Teams { lanes: lanes(gpu.caps()), rows: per_team }));
            // Matrices whose steps are equal share what is read of the activations.
            let is_pair = uses[..2].iter().all(|u| u.input == Input::Bytes && u.vectors() == 16);
            source.add(match is_pair {
                true => include_str!("../kernels/linear/pair_int8.wgsl"),
                false => include_str!("../kernels/linear/pair_apart.wgsl"),
            });
            source.add(part!("swiglu"));
            let emit = if emits { part!("gate_up_emit") } else { "" };
            let shared = if is_beside {
                let emit = if emits { part!("shared_here_emit") } else { "" };
                source.add(&part!("shared_here").replace("EMIT", emit));
                "if (group.y < BESIDE) { shared_here(group.x * BESIDE + group.y, thread); return; }"
            } else {
                ""
            };
            source.add(&part!("gate_up").replace("EMIT", emit).replace("ROUTE", route).replace("SHARED", shared));
            let mut constants = vec![
                ("RPT", per_team),
                ("KEPT", MID_STRETCH),
                ("SHARED_KEPT", shared_stretch),
                ("BESIDE", beside),
                ("FF", ff as u32),
                ("MOST_BITS", clamps[0]),
                ("SHARED_MOST_BITS", clamps[1]),
            ];
            match chooses {
                Some(choice) => {
                    constants.extend(choice.constants);
                    constants.push(("SCALE_BITS", choice.scale));
                }
                None => constants.push(("USED", used as u32)),
            }
            source.build(gpu, "expert gate and up", &uses, linear.lattice_copies(), &constants)
        })?;
        let grid = [(ff as u32).div_ceil(MID_STRETCH), (rows * used) as u32 + beside, 1];
        gpu.dispatch(&kernel, &buffers, &[], grid)
    }

    fn down_few(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        uses: [Use; 2],
        w: &ExpertWeights<'_>,
        routes: &Buffer,
        y: &Rows,
        expand: Option<&Expand<'_>>,
    ) -> Result<bool> {
        let expand = expand.and_then(|expand| Some((expand, linear.stretch(gpu.caps(), &uses, rows, expand)?)));
        let stretch = expand.map(|(_, stretch)| stretch);
        let has = |input| uses.iter().any(|u| u.input == input);
        let mut buffers = Vec::with_capacity(11);
        if has(Input::Float) {
            buffers.push(&self.mid.buffer);
        }
        if has(Input::Bytes) {
            buffers.push(&self.mid_bytes);
        }
        buffers.extend([routes, &y.buffer]);
        y.written(0);
        if has_lattice(&uses) {
            buffers.push(linear.lattice());
        }
        buffers.extend([w.down, w.shared_down].map(|m| &*m.buffer));
        if let Some((expand, stretch)) = expand {
            expand.bind(stretch.dims, &mut buffers);
        }
        let per_team = stretch
            .map_or_else(|| linear.plain_team_rows(gpu.caps(), &uses, rows), |stretch: Stretch| stretch.team_rows);
        let kernel = self.kernel(Key::Down { rows, uses, stretch }, || {
            self.down_kernel(gpu, linear, &uses, rows, per_team, stretch)
        })?;
        let per_workgroup = stretch.map_or(THREADS / lanes(gpu.caps()) * per_team, |stretch| stretch.dims);
        let runs = rows.div_ceil(uses[1].batch) as u32;
        gpu.dispatch(&kernel, &buffers, &[], [(self.limits.embd as u32).div_ceil(per_workgroup), runs, 1])?;
        Ok(stretch.is_some())
    }

    fn down_kernel(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        uses: &[Use; 2],
        rows: usize,
        per_team: u32,
        stretch: Option<Stretch>,
    ) -> Result<Arc<Kernel>> {
        let mut source = Source::new(linear.precision());
        add_inputs(&mut source, uses);
        source.bind("routes", "vec2<u32>", false);
        source.bind("y", "f32", true);
        source.add_teams(gpu.caps());
        source.add_matrices(uses, None, Some(Teams { lanes: lanes(gpu.caps()), rows: per_team }));
        let [before, routed_sum, all_sums, end] = match stretch {
            None => {
                ["", "y[(first_row + r) * WIDTH + first + i]", "y[(first_row + r) * WIDTH + first + i] += sum;", ""]
            }
            Some(stretch) => {
                stretch.add_to(&mut source, self.limits.embd);
                [
                    "load_streams(group.x, thread);",
                    "kept[r * KEPT + thread / LANES * RPT + i]",
                    "let at = r * KEPT + thread / LANES * RPT + i;\nkept[at] += sum;\ny[(first_row + r) * WIDTH + first + i] = kept[at];",
                    "expand_kept(group.x, thread);",
                ]
            }
        };
        // Rows that have all workgroups to themselves read the weights of all their slots at once. Otherwise others read meanwhile, and less code
        // counts.
        let next_slot = if rows <= SHARED_ROWS { "i < USED; i++" } else { "i < USED * once; i += 1u" };
        let down = part!("down").replace("BEFORE", before).replace("ROUTED_SUM", routed_sum);
        let down = down.replace("NEXT_SLOT", next_slot);
        source.add(&down.replace("ALL_SUMS", all_sums).replace("END", end));
        let constants = [
            ("ROWS", rows as u32),
            ("R", uses[1].batch as u32),
            ("RPT", per_team),
            ("USED", self.limits.used as u32),
            ("WIDTH", self.limits.embd as u32),
        ];
        source.build(gpu, "expert down", uses, linear.lattice_copies(), &constants)
    }

    fn many(
        &self,
        gpu: &Gpu,
        linear: &Linear,
        rows: usize,
        clamps: (f32, f32),
        w: &ExpertWeights<'_>,
        h: &Rows,
        routes: &Buffer,
        y: &Rows,
    ) -> Result<()> {
        let ExpertLimits { used, experts, ff, embd, .. } = self.limits;
        let slots = rows * used;
        // Tiles of about the size that an expert's share has.
        let tile = linear.tile((slots / experts).max(1), ff, experts);
        let count = (slots / tile.rows + experts) as u32;
        self.cut(gpu, slots, tile, count, routes)?;
        let of_rows = Slots { tiles: &self.tiles, count, tile, order: &self.order, per_x: used };
        let of_slots = Slots { per_x: 1, ..of_rows };
        let x = linear.tile_input(gpu, rows, h, None)?;
        let tiles = |w, x, width, out, slots| linear.tiles(gpu, rows, 1, w, x, width, out, slots);
        tiles(w.gate, x, embd, &self.gate, Some(&of_rows))?;
        tiles(w.up, x, embd, &self.up, Some(&of_rows))?;
        tiles(w.shared_gate, x, embd, &self.shared_gate, None)?;
        tiles(w.shared_up, x, embd, &self.shared_up, None)?;
        let is_half = linear.has_units();
        self.activate(
            gpu,
            linear.precision(),
            slots,
            Some(routes),
            clamps.0,
            [&self.gate, &self.up],
            &self.hidden,
            is_half,
        )?;
        let shared = [&self.shared_gate, &self.shared_up];
        self.activate(gpu, linear.precision(), rows, None, clamps.1, shared, &self.shared_hidden, is_half)?;
        tiles(w.down, &self.hidden, ff, &self.down, Some(&of_slots))?;
        tiles(w.shared_down, &self.shared_hidden, ff, &self.shared_down, None)?;

        let kernel = self.kernel(Key::Gather, || {
            let constants = [("WG", THREADS), ("OUT", embd as u32), ("USED", used as u32)];
            gpu.kernel("expert sum", &constants, &[part!("gather")])
        })?;
        let grid = [(embd as u32 / 4).div_ceil(THREADS), rows as u32, 1];
        y.written(0);
        gpu.dispatch(&kernel, &[&self.down.buffer, &self.shared_down.buffer, &y.buffer], &[], grid)
    }

    /// Slots in order of their experts, cut into at most `count` tiles.
    fn cut(&self, gpu: &Gpu, slots: usize, tile: Tile, count: u32, routes: &Buffer) -> Result<()> {
        let experts = self.limits.experts as u32;
        let kernel = self.kernel(Key::Sort, || gpu.kernel("expert sort", &[("WG", THREADS)], &[part!("sort")]))?;
        gpu.dispatch(&kernel, &[routes, &self.order, &self.spans], &[slots as u32], [experts, 1, 1])?;
        let kernel = self.kernel(Key::Tiles { rows: tile.rows }, || {
            let constants = [("WG", THREADS), ("EXPERTS", experts), ("BT", tile.rows as u32)];
            gpu.kernel("expert tiles", &constants, &[part!("tiles")])
        })?;
        gpu.dispatch(&kernel, &[&self.spans, &self.tiles], &[count], [1, 1, 1])
    }

    fn activate(
        &self,
        gpu: &Gpu,
        precision: Precision,
        slots: usize,
        routes: Option<&Buffer>,
        most: f32,
        [gate, up]: [&Rows; 2],
        to: &Buffer,
        is_half: bool,
    ) -> Result<()> {
        let is_routed = routes.is_some();
        let kernel = self.kernel(Key::Activate { is_routed }, || {
            let constants = [("WG", THREADS), ("FF", self.limits.ff as u32), ("ROUTED", u32::from(is_routed))];
            let text = part!("activate").replace("HIDDEN", if is_half { "f16" } else { "f32" });
            gpu.kernel_of("swiglu", &constants, &format!("{}{}{text}", parts::math(precision), part!("swiglu")))
        })?;
        if slots > GRID_MAX {
            return Err(Error::TooManyRows { rows: slots, most: GRID_MAX });
        }
        let routes = routes.unwrap_or(&self.spans);
        let grid = [(self.limits.ff as u32).div_ceil(THREADS), slots as u32, 1];
        gpu.dispatch(&kernel, &[&gate.buffer, &up.buffer, routes, to], &[most.to_bits()], grid)
    }
}
