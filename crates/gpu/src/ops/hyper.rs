//! Hyper-connections (`spec/model.md` §4), the collapse of the output head (§11), RMSNorm.

use super::source::Source;
use crate::device::Caps;
use crate::gpu::{Buffer, Gpu, Kernel, words};
use crate::parts;
use crate::rows::{BYTE_ROWS_MAX, BYTE_UNITS, Rows, Vector};
use ds4_engine::config::STREAMS;
use ds4_engine::{Config, Error, Precision, Result};
use std::sync::{Arc, Mutex};

/// Values of `mix`: `post` and `C`.
pub const MIX: usize = STREAMS + STREAMS * STREAMS;
/// Mix values of a layer's site: `pre`, `post`, `A`.
const VALUES: u32 = (STREAMS + MIX) as u32;
/// The same of the head: `pre`.
const HEAD_VALUES: u32 = STREAMS as u32;
/// Dims of each stream that one workgroup of the mix kernel handles.
const PART: usize = 64;
/// Threads of the mix kernel.
const MIX_THREADS: u32 = 256;
/// Threads that share the dims of a part.
const PAIR_THREADS: u32 = 32;
/// Rows from which a group of threads handles several, so that it reads the projection once; and how many.
const MANY_ROWS: usize = 32;
const MIX_ROWS: u32 = 4;

/// Most rows whose products expand what they made; and the fewest dims of each stream that one of their workgroups has.
pub(crate) const EXPANDED_ROWS_MAX: usize = 4;
pub(crate) const STRETCH_LEAST: u32 = 4;

/// Which kernel mixes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum MixRows {
    Few,
    Many,
    /// Those of the head.
    Chosen,
}

/// The projection of a site on the device.
#[derive(Clone, Copy)]
pub struct Mixing<'a> {
    /// `fn`, `values × 4E`, F16 or F32.
    pub project: &'a Buffer,
    /// Whether it is F16.
    pub is_f16: bool,
}

/// A hyper-connection site on the device.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// Projection.
    pub project: Mixing<'a>,
    /// Scales.
    pub scale: &'a Vector,
    /// Biases.
    pub base: &'a Vector,
    /// The norm that follows.
    pub norm: &'a Vector,
}

/// What a product needs to expand its output at its end, towards one site.
pub struct Expand<'a> {
    embd: usize,
    next: Mixing<'a>,
    part: &'a Buffer,
    x: &'a Rows,
    mix: &'a Rows,
}

/// How the workgroups of a product that does so are made.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Stretch {
    /// Their threads.
    pub threads: u32,
    /// Matrix rows that a team takes.
    pub team_rows: u32,
    /// Dims of each stream: all matrix rows of a workgroup.
    pub dims: u32,
    /// Whether the projection of the site is F16.
    pub is_f16: bool,
}

impl Expand<'_> {
    /// Values of a stream.
    pub(crate) fn embd(&self) -> usize {
        self.embd
    }

    /// Whether the projection of the site is F16.
    pub(crate) fn is_f16(&self) -> bool {
        self.next.is_f16
    }

    /// Binds these after all others, for workgroups that have so many dims.
    pub(crate) fn bind<'a>(&'a self, dims: u32, buffers: &mut Vec<&'a Buffer>) {
        self.x.written_and_summed(dims);
        buffers.extend([self.next.project, &self.x.buffer, self.part, &self.mix.buffer]);
    }
}

impl Stretch {
    /// `load_streams` and `expand_kept`. The kernel calls the first one before its product and the second one after it has filled `kept`,
    /// both with the number of the workgroup and of the thread.
    pub(crate) fn add_to(self, source: &mut Source, embd: usize) {
        source.set_threads(self.threads);
        source.bind("project", "u32", false);
        source.bind("streams", "f32", true);
        source.bind("part", "f32", true);
        source.bind("mix", "f32", false);
        source.add(&format!("const E: u32 = {embd}u;\nconst F16: u32 = {}u;", u32::from(self.is_f16)));
        source.add(include_str!("../kernels/hyper/expand.wgsl"));
    }
}

/// Most buffers that a collapse in front of a product takes.
pub(crate) const COLLAPSE_BINDINGS: usize = 8;

/// `write_mix`, and how many threads call it. Exact arithmetic keeps to one thread and one order on all devices.
fn sinkhorn(caps: Caps, precision: Precision) -> (u32, &'static str) {
    match (precision, caps.subgroup) {
        (Precision::Fast, Some(width @ 4..)) => (width, include_str!("../kernels/hyper/sinkhorn_subgroup.wgsl")),
        _ => (1, include_str!("../kernels/hyper/sinkhorn.wgsl")),
    }
}

/// What a product of a single row needs to collapse the streams at its beginning.
pub struct Collapse<'a> {
    site: Site<'a>,
    part: &'a Buffer,
    x: &'a Rows,
    mix: &'a Rows,
    h: &'a Rows,
    kind: CollapseKind,
}

/// What its kernel depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct CollapseKind {
    embd: u32,
    /// Dims of each stream that a part of the sums is of.
    dims: u32,
    precision: Precision,
    /// Whether `h` is left as bytes too.
    emits: bool,
    rms_eps_bits: u32,
    hc_eps_bits: u32,
    rounds: u32,
}

impl<'a> Collapse<'a> {
    /// Where the collapsed row will be.
    pub(crate) fn h(&self) -> &'a Rows {
        self.h
    }

    pub(crate) fn kind(&self) -> CollapseKind {
        self.kind
    }

    /// Binds these before all others.
    pub(crate) fn bind(&self, gpu: &Gpu, buffers: &mut Vec<&'a Buffer>) -> Result<()> {
        let Site { scale, base, norm, .. } = self.site;
        let (x, mix, h) = (&self.x.buffer, &self.mix.buffer, &self.h.buffer);
        buffers.extend([self.part, &scale.buffer, &base.buffer, &norm.buffer, x, mix, h]);
        if self.kind.emits {
            buffers.push(self.h.bytes(gpu)?);
        }
        self.h.written(usize::from(self.kind.emits));
        Ok(())
    }
}

impl CollapseKind {
    /// Bytes of workgroup memory that a kernel of such workgroups uses besides its own.
    pub(crate) fn workgroup_bytes(self, threads: u32, has_floats: bool, has_bytes: bool) -> u32 {
        let floats = if has_floats { 4 * self.embd } else { 0 };
        let bytes = if has_bytes || self.emits { 16 * BYTE_UNITS as u32 * self.embd / 64 } else { 0 };
        floats + bytes + 2 * 4 * threads
    }

    /// `collapse_here`, and the product's input: `x` and, if it has bytes, `xq`, both in memory of the workgroup. The kernel calls it first.
    pub(crate) fn add_to(self, source: &mut Source, caps: Caps, threads: u32, has_floats: bool, has_bytes: bool) {
        source.set_threads(threads);
        for (name, of, is_written) in [
            ("part", "f32", false),
            ("scale", "f32", false),
            ("base", "f32", false),
            ("site_norm", "vec4<f32>", false),
            ("streams", "vec4<f32>", false),
            ("mix", "f32", true),
            ("h", "vec4<f32>", true),
        ] {
            source.bind(name, of, is_written);
        }
        let (mixers, sinkhorn) = sinkhorn(caps, self.precision);
        let numbers = [
            ("E", self.embd),
            ("PART", self.dims),
            ("SUBGROUP", parts::subgroup(caps)),
            ("RMS_EPS_BITS", self.rms_eps_bits),
            ("HC_EPS_BITS", self.hc_eps_bits),
            ("ROUNDS", self.rounds),
            ("MIXERS", mixers),
        ];
        numbers.iter().for_each(|(name, value)| source.add(&format!("const {name}: u32 = {value}u;")));
        source.add(parts::math(self.precision));
        source.add(parts::sums(caps, threads));
        let keep_floats = if has_floats { "x[at] = value;" } else { "" };
        if has_floats {
            source.add(&format!("var<workgroup> x: array<vec4<f32>, {}u>;", self.embd / 4));
        }
        let (mut keep_bytes, mut leave_bytes) = ("", "");
        if has_bytes || self.emits {
            let units = BYTE_UNITS as u32 * self.embd / 64;
            source.add(&format!(
                "const BYTE_UNITS: u32 = {BYTE_UNITS}u;\nvar<workgroup> xq: array<vec4<u32>, {units}u>;"
            ));
            source.add_once(&[parts::EMIT_BLOCK]);
            source.add(include_str!("../kernels/hyper/collapse_bytes.wgsl"));
            // Without a product that takes them they are only for others.
            keep_bytes = if has_bytes { "keep_bytes(at, value);" } else { "if (is_first) { keep_bytes(at, value); }" };
        }
        if self.emits {
            source.bind("h_bytes", "vec4<u32>", true);
            leave_bytes = "for (var i = thread; i < BYTE_UNITS * (E / 64u); i += WG) { h_bytes[i] = xq[i]; }";
        }
        source.add(sinkhorn);
        source.add(match caps.subgroup {
            Some(_) if self.precision == Precision::Fast => {
                include_str!("../kernels/hyper/collapse_sums_subgroup.wgsl")
            }
            _ => include_str!("../kernels/hyper/collapse_sums.wgsl"),
        });
        let collapse = include_str!("../kernels/hyper/collapse_here.wgsl");
        let collapse = collapse.replace("KEEP_FLOATS", keep_floats).replace("KEEP_BYTES", keep_bytes);
        source.add(&collapse.replace("LEAVE_BYTES", leave_bytes));
    }
}

/// The kernels with what they keep between two dispatches.
pub struct Hyper {
    embd: usize,
    rms_eps: f32,
    hc_eps: f32,
    rounds: u32,
    precision: Precision,
    /// Whether products take the collapsed rows as bytes.
    emits: bool,
    /// Sums of the parts.
    part: Buffer,
    /// Rows of the head.
    chosen: Buffer,
    chosen_now: Mutex<Vec<u32>>,
    /// Bound as `mix` where there is none.
    nothing: Rows,
}

impl Hyper {
    /// For steps of at most `rows` rows.
    ///
    /// # Errors
    /// A hidden width that is no multiple of 64; out of memory.
    pub fn new(gpu: &Gpu, config: &Config, rows: usize, precision: Precision) -> Result<Self> {
        if !config.embd.is_multiple_of(PART) {
            return Err(Error::Device(format!(
                "a hidden width of {}, no multiple of {PART}; use --backend cpu",
                config.embd
            )));
        }
        let parts =
            (rows * (config.embd / PART)).max(rows.min(EXPANDED_ROWS_MAX) * config.embd / STRETCH_LEAST as usize);
        let sums = parts * (VALUES as usize + 1);
        Ok(Self {
            embd: config.embd,
            rms_eps: config.rms_eps,
            hc_eps: config.hc_eps,
            rounds: config.sinkhorn as u32,
            precision,
            emits: precision == Precision::Fast && parts::can_emit(gpu.caps(), config.embd),
            part: gpu.buffer("hyper-connection sums", 4 * sums as u64)?,
            chosen: gpu.buffer("rows of the head", 4 * rows as u64)?,
            chosen_now: Mutex::default(),
            nothing: Rows::new(gpu, 1, 1)?,
        })
    }

    fn mix_kernel(&self, gpu: &Gpu, values: u32, expand: bool, is_f16: bool, rows: MixRows) -> Result<Arc<Kernel>> {
        let caps = gpu.caps();
        let threads = if values == 0 { 32 } else { MIX_THREADS };
        let sum = match caps.subgroup {
            Some(32) => include_str!("../kernels/hyper/pair_sum_subgroup.wgsl"),
            _ => include_str!("../kernels/hyper/pair_sum.wgsl"),
        };
        let constants = [
            ("WG", threads),
            ("E", self.embd as u32),
            ("VALUES", values),
            ("EXPAND", u32::from(expand)),
            ("F16", u32::from(is_f16)),
            ("CHOSEN", u32::from(rows == MixRows::Chosen)),
            ("RB", MIX_ROWS),
        ];
        let shared = include_str!("../kernels/hyper/mix_values.wgsl");
        let text = match rows {
            MixRows::Many => include_str!("../kernels/hyper/mix_many.wgsl"),
            _ => include_str!("../kernels/hyper/mix.wgsl"),
        };
        gpu.kernel("hc_mix", &constants, &[shared, text, sum])
    }

    /// The sums that [`collapse_parts`](Self::collapse_parts) needs, and of how many dims of each stream a part of them is; with `y` after
    /// `X ← expand(X)`.
    fn mix(
        &self,
        gpu: &Gpu,
        rows: usize,
        project: Option<Mixing<'_>>,
        values: u32,
        y: Option<&Rows>,
        x: &Rows,
        mix: &Rows,
        is_chosen: bool,
    ) -> Result<u32> {
        let which = match rows {
            _ if is_chosen => MixRows::Chosen,
            MANY_ROWS.. if values > 0 => MixRows::Many,
            _ => MixRows::Few,
        };
        let is_f16 = project.is_some_and(|project| project.is_f16);
        let kernel = self.mix_kernel(gpu, values, y.is_some(), is_f16, which)?;
        let project = project.map_or(&mix.buffer, |project| project.project);
        if y.is_some() {
            x.written(0);
        }
        let y = y.map_or(&mix.buffer, |y| &y.buffer);
        let buffers = [project, &x.buffer, &self.part, y, &mix.buffer, &self.chosen];
        let args = [rows as u32];
        let (buffers, at_once, args) = match which {
            MixRows::Many => (&buffers[..5], MIX_THREADS / PAIR_THREADS * MIX_ROWS, &args[..]),
            _ => (&buffers[..], 1, &[][..]),
        };
        let grid = [(self.embd / PART) as u32, (rows as u32).div_ceil(at_once), 1];
        gpu.dispatch(&kernel, buffers, args, grid)?;
        Ok(PART as u32)
    }

    fn collapse_parts(
        &self,
        gpu: &Gpu,
        rows: usize,
        site: &Site<'_>,
        values: u32,
        part: u32,
        x: &Rows,
        mix: &Rows,
        h: &Rows,
    ) -> Result<()> {
        let threads = 512.min((self.embd as u32 / 4).next_multiple_of(64));
        let caps = gpu.caps();
        let is_head = values == HEAD_VALUES;
        let (mixers, sinkhorn) = sinkhorn(caps, self.precision);
        let constants = [
            ("WG", threads),
            ("SUBGROUP", parts::subgroup(caps)),
            ("E", self.embd as u32),
            ("PART", part),
            ("VALUES", values),
            ("HEAD", u32::from(is_head)),
            ("EMIT_WIDTH", self.embd as u32),
            ("EMIT_BINDING", 8),
            ("RMS_EPS_BITS", self.rms_eps.to_bits()),
            ("HC_EPS_BITS", self.hc_eps.to_bits()),
            ("ROUNDS", self.rounds),
            ("MIXERS", mixers),
        ];
        let emits = self.emits && rows <= BYTE_ROWS_MAX;
        let sums = parts::sums(caps, threads);
        let sources = [
            parts::ONCE,
            parts::math(self.precision),
            sums,
            sinkhorn,
            include_str!("../kernels/hyper/collapse.wgsl"),
            parts::emit(emits),
        ];
        let kernel = gpu.kernel("hc_collapse", &constants, &sources)?;
        let mut buffers = vec![
            &self.part,
            &site.scale.buffer,
            &site.base.buffer,
            &site.norm.buffer,
            &x.buffer,
            &mix.buffer,
            &h.buffer,
            &self.chosen,
        ];
        if emits {
            buffers.push(h.bytes(gpu)?);
        }
        h.written(if emits { rows } else { 0 });
        gpu.dispatch(&kernel, &buffers, &[], [if is_head { 1 } else { 2 }, rows as u32, 1])
    }

    /// For a product whose output is expanded by `mix`, and then collapsed at `next`.
    pub fn expand_into<'a>(&'a self, next: Mixing<'a>, x: &'a Rows, mix: &'a Rows) -> Expand<'a> {
        Expand { embd: self.embd, next, part: &self.part, x, mix }
    }

    /// For a product of what is collapsed at `site`: where it is a single row, and what expanded the streams left their sums.
    pub fn collapse_into<'a>(
        &'a self,
        rows: usize,
        site: Site<'a>,
        x: &'a Rows,
        mix: &'a Rows,
        h: &'a Rows,
    ) -> Option<Collapse<'a>> {
        let dims = x.summed().filter(|_| rows == 1)?;
        let kind = CollapseKind {
            embd: self.embd as u32,
            dims,
            precision: self.precision,
            emits: self.emits,
            rms_eps_bits: self.rms_eps.to_bits(),
            hc_eps_bits: self.hc_eps.to_bits(),
            rounds: self.rounds,
        };
        Some(Collapse { site, part: &self.part, x, mix, h, kind })
    }

    /// `h = rmsnorm(Σ_s pre_s X_s, norm)`, `mix` gets `post` and `C`.
    ///
    /// # Errors
    /// The device failed.
    pub fn collapse(&self, gpu: &Gpu, rows: usize, site: &Site<'_>, x: &Rows, mix: &Rows, h: &Rows) -> Result<()> {
        let part = match x.summed() {
            Some(part) => part,
            None => self.mix(gpu, rows, Some(site.project), VALUES, None, x, mix, false)?,
        };
        self.collapse_parts(gpu, rows, site, VALUES, part, x, mix, h)
    }

    /// `X'_t = post_t·y + Σ_s C[s][t]·X_s`, with the sums for a collapse at `next`.
    ///
    /// # Errors
    /// The device failed.
    pub fn expand(
        &self,
        gpu: &Gpu,
        rows: usize,
        mix: &Rows,
        y: &Rows,
        x: &Rows,
        next: Option<Mixing<'_>>,
    ) -> Result<()> {
        let part = self.mix(gpu, rows, next, if next.is_some() { VALUES } else { 0 }, Some(y), x, mix, false)?;
        if next.is_some() {
            x.written_and_summed(part);
        }
        Ok(())
    }

    /// §11: rows `rows` of `x`, collapsed and normed, to consecutive rows of `e`.
    ///
    /// # Errors
    /// The device failed.
    pub fn head(&self, gpu: &Gpu, rows: &[usize], site: &Site<'_>, x: &Rows, e: &Rows) -> Result<()> {
        let chosen: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let mut now = self.chosen_now.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if *now != chosen {
            gpu.upload(&self.chosen, 0, &words(&chosen));
            *now = chosen;
        }
        let mix = &self.nothing;
        let part = self.mix(gpu, rows.len(), Some(site.project), HEAD_VALUES, None, x, mix, true)?;
        self.collapse_parts(gpu, rows.len(), site, HEAD_VALUES, part, x, mix, e)
    }
}

/// RMSNorm of the first `rows` rows, in place.
///
/// # Errors
/// The device failed.
pub fn rms_norm(gpu: &Gpu, rows: usize, norm: &Vector, eps: f32, x: &Rows) -> Result<()> {
    let (caps, threads) = (gpu.caps(), 256);
    let constants = [("WG", threads), ("SUBGROUP", parts::subgroup(caps))];
    let sources = [parts::sums(caps, threads), include_str!("../kernels/hyper/norm.wgsl")];
    let kernel = gpu.kernel("rms_norm", &constants, &sources)?;
    x.written(0);
    gpu.dispatch(&kernel, &[&norm.buffer, &x.buffer], &[x.width as u32, eps.to_bits()], [rows as u32, 1, 1])
}
